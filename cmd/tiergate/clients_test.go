package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tiergate/tiergate/internal/clientstest"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/internal/porttest"
)

const clientGuides = "../../docs/clients"

// clientExamples are the files that the guides show, and what each says of the demo data.
var clientExamples = map[string]string{
	"flagd-rpc.mjs":        "alice trains models\nuploads up to 1000 MB (large), on tier enterprise\n",
	"flagd-in-process.mjs": "alice trains models\nuploads up to 1000 MB (large), by set default\n",
	"ofrep.mjs":            "alice trains models\nuploads up to 1000 MB (large), on tier enterprise\n",
	"ofrep-web.mjs":        "the API costs more\n",
	"flagd-web.mjs":        "the API costs more\n",
	"ofrep.sh":             "",
	"connect.sh":           "",
}

// The guides show what runs here, and nothing that does not: each block of code is the text
// of a file, and each file is in a guide.
func TestClients_guides_show_what_runs(t *testing.T) {
	guides, err := filepath.Glob(filepath.Join(clientGuides, "*.md"))
	if err != nil || len(guides) == 0 {
		t.Fatalf("no guides: %v", err)
	}
	shown := map[string]bool{}
	for _, guide := range guides {
		if filepath.Base(guide) == "go.md" {
			continue // Go in pieces, which package provider has tests of
		}
		for _, block := range codeOf(t, guide) {
			name := exampleWith(t, block)
			if name == "" {
				t.Errorf("%s has a block that is no file of examples:\n%s", guide, block)
			}
			shown[name] = true
		}
	}
	for name := range clientExamples {
		if !shown[name] {
			t.Errorf("no guide shows %s", name)
		}
	}
}

// codeOf returns the blocks of code that are to be run.
func codeOf(t *testing.T, guide string) []string {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for i, part := range strings.Split(string(text), "\n```") {
		if language, code, _ := strings.Cut(part, "\n"); i%2 == 1 && slices.Contains([]string{"js", "sh"}, language) {
			blocks = append(blocks, code+"\n")
		}
	}
	return blocks
}

// exampleWith returns the name of the file that has a text.
func exampleWith(t *testing.T, text string) string {
	t.Helper()
	for name := range clientExamples {
		if example(t, name) == text {
			return name
		}
	}
	return ""
}

func example(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(clientGuides, "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Each example of the guides connects to what `make run` starts, as it stands there; the pages
// hear of a change over the admin API. A page of another origin may ask if it is allowed to.
func TestClients_examples_run(t *testing.T) {
	sync, page := porttest.Addr(t), "https://app.example"
	p := launchOn(t, onGRPC(t), dataDir(t), "dev", "--sync-addr", sync, "--cors-origin", page)
	p.waitReady(t)
	p.use(t, conformance.UseStep{Do: "consume", Feature: "exports", User: "nobody in the examples"})
	here := strings.NewReplacer("127.0.0.1:8016", p.http, "127.0.0.1:8013", p.grpc,
		"port: 8013", "port: "+portOf(p.grpc), "port: 8015", "port: "+portOf(sync))
	pages := map[string]*clientstest.Script{}
	for name, want := range clientExamples {
		text := here.Replace(example(t, name))
		switch {
		case filepath.Ext(name) == ".sh":
			t.Run(name, func(t *testing.T) { curls(t, text) })
		case strings.Contains(name, "-web"):
			pages[name] = clientstest.RunText(t, name, text)
			if got := pages[name].Line() + "\n"; got != want {
				t.Errorf("%s says %q, want %q", name, got, want)
			}
		default:
			if got := clientstest.RunText(t, name, text).Rest(); got != want {
				t.Errorf("%s says %q, want %q", name, got, want)
			}
		}
	}
	if status, got := p.admin(t, http.MethodPatch, "/api/features/api-access", `{"rules": {"tiers": ["free"]}}`); status != 200 {
		t.Fatalf("the change is answered with %d: %v", status, got)
	}
	for name, s := range pages {
		if got := s.Line(); got != "the API is there" {
			t.Errorf("%s says %q of a change", name, got)
		}
	}
	t.Run("other origins", func(t *testing.T) { p.letsAsk(t, page) })
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// curls runs the commands of a guide, each of which must succeed, and looks for the right answers.
func curls(t *testing.T, text string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-euc", text).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	said := strings.ReplaceAll(string(out), " ", "")
	parts := []string{`"value":1000`, `"large"`, `"new-dashboard"`}
	if strings.Contains(text, "Consume") {
		parts = append(parts, `"allow":true`, `"remainingMax":"2"`)
	}
	for _, part := range parts {
		if !strings.Contains(said, part) {
			t.Errorf("no %s in\n%s", part, out)
		}
	}
}

// letsAsk sends what a browser sends before a page of another origin asks: all that the
// providers send must be allowed to that page and to no other.
func (p *program) letsAsk(t *testing.T, page string) {
	t.Helper()
	for url, headers := range map[string]string{
		"http://" + p.http + "/ofrep/v1/evaluate/flags":                 "content-type,if-none-match,authorization",
		"http://" + p.grpc + "/flagd.evaluation.v1.Service/ResolveAll":  "content-type,connect-protocol-version",
		"http://" + p.grpc + "/flagd.evaluation.v1.Service/EventStream": "content-type,connect-protocol-version",
	} {
		for _, origin := range []string{page, "https://evil.example"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Origin", origin)
			req.Header.Set("Access-Control-Request-Method", http.MethodPost)
			req.Header.Set("Access-Control-Request-Headers", headers)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			allowed := strings.ToLower(resp.Header.Get("Access-Control-Allow-Headers"))
			missing := slices.ContainsFunc(strings.Split(headers, ","), func(h string) bool { return !strings.Contains(allowed, h) })
			if may := resp.Header.Get("Access-Control-Allow-Origin") == origin && !missing; may != (origin == page) {
				t.Errorf("%s may ask %s: %v, with the headers %q", origin, url, may, allowed)
			}
		}
	}
}
