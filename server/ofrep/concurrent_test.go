package ofrep_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tiergate/tiergate/server/ofrep"
)

// Callers that ask at the same time over kept connections get answers about themselves,
// though parsers and buffers are used again: nothing of one request shows in another.
func TestConcurrent_callers_get_their_own_answers(t *testing.T) {
	addr := serve(t, appOf(ofrep.Config{Evaluator: fakeOf(demo())}))
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 100 {
				user := strings.Repeat(fmt.Sprintf("u%d-%d.", worker, i), 1+(worker*7+i)%40)
				body, want := fmt.Sprintf(`{"context":{"targetingKey":%q,"pad":%q}}`, user, strings.Repeat("x", i*20)), user+" of no team"
				if i%7 == 0 { // between the others, one who names nobody
					body, want = `{}`, "nobody of no team"
				}
				res, err := client.Post("http://"+addr+flags+"/who", "application/json", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err != nil || !strings.Contains(string(got), `"value":"`+want+`"`) {
					t.Errorf("%s got %s, %v", user, got, err)
				}
			}
		})
	}
	wg.Wait()
}
