package decision

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// An endpoint is one resource of the door.
type endpoint struct {
	get    bool // GET and HEAD instead of POST
	any    bool // every method, and errors as proxies need them
	nginx  bool // a proxy that knows only 2xx and 403
	open   bool // for callers without a key, and before anything has been loaded
	effect bool // something is taken or changed: the key needs another scope
	kind   kind // what may be asked, and what is done with it
	query  []string
	serve  func(d *door, ctx *fasthttp.RequestCtx, c *call) error
}

// The endpoints by their paths below the prefix; in {id} and {verb} stands a reservation's id
// and what is done with it.
var endpoints map[string]*endpoint

func init() {
	reflect := []string{"reflect"}
	endpoints = map[string]*endpoint{
		"check":         {kind: check, query: reflect, serve: (*door).one},
		"consume":       {kind: consume, effect: true, query: reflect, serve: (*door).one},
		"track":         {kind: track, effect: true, query: reflect, serve: (*door).one},
		"batch/check":   {kind: check, serve: (*door).many},
		"batch/consume": {kind: consume, effect: true, serve: (*door).many},
		"batch/track":   {kind: track, effect: true, serve: (*door).many},

		"gauges/add":     {kind: hold, effect: true, query: reflect, serve: (*door).gauge},
		"gauges/remove":  {kind: drop, effect: true, query: reflect, serve: (*door).gauge},
		"gauges/replace": {kind: replace, effect: true, query: reflect, serve: (*door).gauge},

		"reservations":              {kind: reserve, effect: true, query: reflect, serve: (*door).reserve},
		"reservations/{id}":         {get: true, effect: true, serve: (*door).reservation},
		"reservations/{id}/extend":  {effect: true, serve: (*door).extend},
		"reservations/{id}/commit":  {effect: true, serve: (*door).commit},
		"reservations/{id}/release": {effect: true, serve: (*door).release},

		"auth/nginx":   {any: true, nginx: true, query: proxyQuery, serve: (*door).proxied},
		"auth/forward": {any: true, query: proxyQuery, serve: (*door).proxied},
		"openapi.yaml": {get: true, open: true, serve: (*door).openAPI},
	}
}

// find returns the endpoint of a request and the reservation that it names, which is valid as
// long as the request. The endpoint is nil when there is none.
func (d *door) find(ctx *fasthttp.RequestCtx) (e *endpoint, id string, err error) {
	tail, ok := strings.CutPrefix(server.View(ctx.URI().PathOriginal()), prefix)
	if ok {
		e = endpoints[tail]
	}
	if ok && e == nil {
		e, id = reservationPath(tail)
	}
	if e == nil || e.isReservation() && d.cfg.Reservations == nil || e.isGauge() && d.cfg.Gauges == nil {
		return nil, "", tiergate.Errorf(tiergate.NotFound, "there is no such resource")
	}
	allow := fasthttp.MethodPost
	switch {
	case e.any, !e.get && ctx.IsPost(), e.get && (ctx.IsGet() || ctx.IsHead()):
		return e, id, nil
	case e.get:
		allow = "GET, HEAD"
	}
	ctx.Response.Header.Set(fasthttp.HeaderAllow, allow)
	return e, id, &problem{status: fasthttp.StatusMethodNotAllowed, detail: "this resource is used with " + allow}
}

// reservationPath takes a path apart that names a reservation.
func reservationPath(tail string) (*endpoint, string) {
	rest, ok := strings.CutPrefix(tail, "reservations/")
	if !ok {
		return nil, ""
	}
	id, verb, acts := strings.Cut(rest, "/")
	if !acts {
		return endpoints["reservations/{id}"], id
	}
	switch verb {
	case "extend":
		return endpoints["reservations/{id}/extend"], id
	case "commit":
		return endpoints["reservations/{id}/commit"], id
	case "release":
		return endpoints["reservations/{id}/release"], id
	}
	return nil, ""
}

func (e *endpoint) isReservation() bool { return e.kind == reserve || e.kind == unasked && e.effect }

func (e *endpoint) isGauge() bool { return e.kind == hold || e.kind == drop || e.kind == replace }

// prepare looks at what each request brings besides its question: its encoding, its query, who
// asks, and which revision it demands.
func (d *door) prepare(ctx *fasthttp.RequestCtx, c *call, e *endpoint) error {
	if server.Encoded(ctx) && !e.any {
		return &problem{status: fasthttp.StatusUnsupportedMediaType, detail: "the body must not have a Content-Encoding"}
	}
	if err := c.readQuery(ctx, e.query); err != nil || e.open {
		return err
	}
	gen := d.cfg.Evaluator.Generation()
	if gen == nil {
		return notLoaded()
	}
	if err := d.admit(ctx, c, e); err != nil {
		return err
	}
	later, status, detail := d.state.Demanded(ctx, gen)
	if later == nil {
		return &problem{status: status, detail: detail}
	}
	if later != gen { // who may ask no longer now that it is there gets no answer
		if err := d.admit(ctx, c, e); err != nil {
			return err
		}
	}
	c.now = d.cfg.Now()
	c.stale = d.state.Stale(c.now)
	return nil
}

// admit finds out who asks, and whether they may.
func (d *door) admit(ctx *fasthttp.RequestCtx, c *call, e *endpoint) error {
	key, status, detail := server.Admit(ctx, d.cfg.Credential)
	if status != 0 {
		return &problem{status: status, detail: detail}
	}
	c.key = key
	return d.allowed(ctx, c, e)
}

func notLoaded() error { return tiergate.Errorf(tiergate.Unavailable, "nothing has been loaded yet") }

// inScope refuses a key without the scope that taking something needs, or asking.
func (d *door) inScope(key *tiergate.Key, effect bool) error {
	switch {
	case d.cfg.Credential == nil, key.Allows(tiergate.ScopeConsume):
		return nil
	case effect:
		return tiergate.Errorf(tiergate.Forbidden, "the API key does not have the scope %q", tiergate.ScopeConsume)
	case !key.Allows(tiergate.ScopeEvaluate):
		return tiergate.Errorf(tiergate.Forbidden, "the API key has neither the scope %q nor %q", tiergate.ScopeEvaluate, tiergate.ScopeConsume)
	}
	return nil
}

// allowed refuses a key without the scope, and pages of other sites that a browser would let
// take something from whoever it can reach: their answer is hidden, their effect is not.
func (d *door) allowed(ctx *fasthttp.RequestCtx, c *call, e *endpoint) error {
	effect := e.effect || e.any && string(ctx.QueryArgs().Peek("mode")) == "consume"
	if err := d.inScope(c.key, effect); err != nil {
		return err
	}
	if e.any && effect && d.cfg.Credential == nil && !fromProxy(ctx) {
		return tiergate.FieldErrorf("mode", "a proxy that takes something says so in one of its own headers, such as Tiergate-Feature")
	}
	if e.effect && len(ctx.Request.Header.Peek(fasthttp.HeaderOrigin)) > 0 &&
		len(ctx.Response.Header.Peek(fasthttp.HeaderAccessControlAllowOrigin)) == 0 {
		return tiergate.Errorf(tiergate.Forbidden, "pages of this origin may not take anything")
	}
	return nil
}

// readQuery refuses parameters that the resource does not know, or that come twice: a mistyped
// one would silently change the answer.
func (c *call) readQuery(ctx *fasthttp.RequestCtx, known []string) error {
	c.reflect = false
	if len(ctx.URI().QueryString()) == 0 {
		return nil
	}
	if err := checkPercents(ctx.URI().QueryString()); err != nil {
		return err
	}
	seen := uint(0)
	for name, value := range ctx.QueryArgs().All() {
		i := index(known, name)
		switch {
		case i < 0:
			return tiergate.FieldErrorf(string(name), "there is no parameter %.40q here", name)
		case seen&(1<<i) != 0:
			return tiergate.FieldErrorf(string(name), "the parameter %s comes twice", name)
		}
		seen |= 1 << i
		if string(name) != "reflect" {
			continue
		}
		switch string(value) {
		case "1", "true":
			c.reflect = true
		case "0", "false":
		default:
			return tiergate.FieldErrorf("reflect", "reflect is neither 1 nor 0")
		}
	}
	return nil
}

// checkPercents refuses a percent sign in a query that encodes no byte: it would be taken for
// itself, and the question be another one.
func checkPercents(query []byte) error {
	for {
		i := bytes.IndexByte(query, '%')
		if i < 0 {
			return nil
		}
		query = query[i+1:]
		if _, err := strconv.ParseUint(server.View(query[:min(len(query), 2)]), 16, 8); err != nil || len(query) < 2 {
			return tiergate.Errorf(tiergate.Invalid, "the query has a percent sign that encodes no byte")
		}
	}
}

// index is slices.Index for a name that is not a string yet.
func index(names []string, name []byte) int {
	for i, n := range names {
		if n == string(name) {
			return i
		}
	}
	return -1
}
