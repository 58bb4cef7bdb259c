package admin_test

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate/admin"
)

var update = flag.Bool("update", false, "write openapi.json anew")

// The committed OpenAPI document is the one that is served: go test ./admin -update writes it.
func TestOpenAPI_committed_document_is_fresh(t *testing.T) {
	_, served := answerOf(t, admin.New(newWorld(t).config), exchange{path: "/openapi.json", token: "-"}.request())
	if *update {
		if err := os.WriteFile("openapi.json", []byte(served), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(committed), served); diff != "" {
		t.Errorf("openapi.json is not what is served; run go test ./admin -update (-committed +served):\n%s", diff)
	}
}

// The document is OpenAPI 3.1 whose every reference leads somewhere, and so is its YAML form.
func TestOpenAPI_references_lead_somewhere(t *testing.T) {
	app := admin.New(newWorld(t).config)
	_, served := answerOf(t, app, exchange{path: "/openapi.json", token: "-"}.request())
	var doc struct {
		OpenAPI    string
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal([]byte(served), &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatalf("OpenAPI %q, %v", doc.OpenAPI, err)
	}
	refs := regexp.MustCompile(`"\$ref": "#/components/schemas/([^"]+)"`).FindAllStringSubmatch(served, -1)
	if len(refs) == 0 {
		t.Error("there are no references")
	}
	for _, ref := range refs {
		if doc.Components.Schemas[ref[1]] == nil {
			t.Errorf("reference to %s, which is not there", ref[1])
		}
	}
	if resp, yaml := answerOf(t, app, exchange{path: "/openapi.yaml", token: "-"}.request()); resp.StatusCode != 200 || !strings.Contains(yaml, "openapi: 3.1.0") {
		t.Errorf("/openapi.yaml: status %d: %.80s", resp.StatusCode, yaml)
	}
}

// The docs page needs nothing from anywhere: no script, no address of another host, and
// its policy would not let it.
func TestDocs_page_works_offline(t *testing.T) {
	resp, page := answerOf(t, admin.New(newWorld(t).config), exchange{path: "/docs", token: "-"}.request())
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("status %d, type %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	for _, bad := range []string{"<script", "http://", "https://", "url(", "<link", "<img", "ZgotmplZ"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page contains %s", bad)
		}
	}
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("the page's policy is %q", csp)
	}
	links := regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(page, -1)
	for _, link := range links {
		if !strings.Contains(page, `id="`+link[1]+`"`) {
			t.Errorf("link to #%s, which is not there", link[1])
		}
	}
	for _, code := range admin.Codes() {
		if !strings.Contains(page, `id="problem-`+code+`"`) {
			t.Errorf("the page does not explain the problem %s", code)
		}
	}
}
