package admin_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tiergate/tiergate/admin"
)

// open are the paths that need no token: they tell what is in the source anyway.
var open = []string{"/docs", "/openapi.json", "/openapi.yaml"}

// Every route that the app serves is documented and asks for a token, and every action
// that is asked about is "<things>.<verb>".
func TestRoutes_are_documented_and_guarded(t *testing.T) {
	w := newWorld(t)
	app := admin.New(w.config)
	_, document := answerOf(t, app, exchange{path: "/openapi.json", token: "-"}.request())
	var doc struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal([]byte(document), &doc); err != nil {
		t.Fatal(err)
	}
	param, served := regexp.MustCompile(`:([a-zA-Z]+)`), 0
	for _, r := range app.GetRoutes(true) {
		if slices.Contains(open, r.Path) {
			continue
		}
		served++
		path := param.ReplaceAllString(r.Path, "{$1}")
		method := strings.ToLower(r.Method)
		if r.Method == http.MethodHead {
			method = "get"
		}
		if doc.Paths[path][method].OperationID == "" {
			t.Errorf("%s %s is served and not documented", r.Method, path)
		}
		run(t, app, []exchange{{name: r.Method + " " + path, method: r.Method, path: param.ReplaceAllString(r.Path, "1"), token: "-", status: http.StatusUnauthorized}})
	}
	documented := 0
	for _, methods := range doc.Paths {
		documented += len(methods)
	}
	if documented == 0 || served < documented {
		t.Errorf("%d routes are documented, %d served", documented, served)
	}
}

// The lines of the table and the document are the same, one for one, and each has an action.
func TestRoutes_table_is_the_document(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	_, document := answerOf(t, admin.New(newWorld(t).config), exchange{path: "/openapi.json", token: "-"}.request())
	if err := json.Unmarshal([]byte(document), &doc); err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			documented[op.OperationID] = strings.ToUpper(method) + " " + path
		}
	}
	action := regexp.MustCompile(`^[a-z]+\.[a-z]+$`)
	for id, line := range admin.Routes() {
		if documented[id] != line.Route {
			t.Errorf("%s is %q in the table and %q in the document", id, line.Route, documented[id])
		}
		if !action.MatchString(line.Action) {
			t.Errorf("%s has action %q", id, line.Action)
		}
		if read := strings.HasSuffix(line.Action, ".read"); read != strings.HasPrefix(line.Route, "GET ") {
			t.Errorf("%s has action %q", line.Route, line.Action)
		}
		delete(documented, id)
	}
	for id, line := range documented {
		t.Errorf("%s %s is documented and not in the table", id, line)
	}
}
