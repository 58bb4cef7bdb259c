package decision

import (
	_ "embed" // the description of the API is part of the program

	"github.com/valyala/fasthttp"
)

//go:embed openapi.yaml
var openAPI []byte

// openAPI describes the door in OpenAPI 3.1.
func (d *door) openAPI(ctx *fasthttp.RequestCtx, _ *call) error {
	d.revisionInForce(ctx)
	ctx.SetContentType("application/yaml")
	ctx.SetBody(openAPI)
	return nil
}
