package decision_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
)

// Many requests at once never see anything of each other, though they use the same memory one
// after the other.
func TestConcurrent_requests_are_apart(t *testing.T) {
	d, g := door(nil)
	g.say = func(verb string, u *tiergate.Use) (tiergate.Verdict, error) {
		// Each question says everywhere who asks.
		who := u.UserID
		want := fmt.Sprintf(`{"who":"%s"}`, who)
		if u.Flag != "f-"+who || u.TeamID != "t-"+who || u.IdempotencyKey != "k-"+who || string(u.Metadata) != want || u.Attributes.Field("who").Text() != who {
			t.Errorf("%s was asked by a mixture: %s", verb, describe(verb, u))
		}
		return tiergate.Verdict{Allow: true, Reason: tiergate.UseAllowed, ID: strings.Clone(who)}, nil
	}
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 200 {
				who := fmt.Sprintf("u%d-%d", n, i)
				one := strings.ReplaceAll(`{"feature":"f-WHO","subject":{"user":"WHO","team":"t-WHO"},"attributes":{"who":"WHO"},"idempotencyKey":"k-WHO","metadata":{"who":"WHO"}}`, "WHO", who)
				path, body, times := "/v1/consume", one, 1
				if i%3 == 0 {
					path, body, times = "/v1/batch/track", `{"items":[`+one+","+one+`]}`, 2
				}
				var ctx fasthttp.RequestCtx
				fill(&ctx, path, body)
				d.Handle(&ctx)
				got := string(ctx.Response.Body())
				if strings.Count(got, `"feature":"f-`+who+`"`) != times || strings.Count(got, `"decisionId":"`+who+`"`) != times {
					t.Errorf("%s is answered with %s", who, got)
				}
			}
		})
	}
	all.Wait()
}
