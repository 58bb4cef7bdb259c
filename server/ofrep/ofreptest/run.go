package ofreptest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tiergate/tiergate/internal/npmtest"
)

// A Case is one question and what the SDK must make of the answer. Its JSON is what
// check.mjs reads; the cases of internal/conformance have the same form.
type Case struct {
	Story   string         `json:"story"`
	Flag    string         `json:"flag"`
	As      string         `json:"as,omitempty"` // the type that the caller asks for; "" is that of Want.Value, or each in turn
	Context map[string]any `json:"context"`
	Want    Want           `json:"want"`
}

// Want is what the caller gets to see. A nil Value means the caller's code default.
type Want struct {
	Value     any    `json:"value,omitempty"`
	Variant   string `json:"variant"`
	Reason    string `json:"reason"`
	ErrorCode string `json:"errorCode,omitempty"`
	Tier      string `json:"tier,omitempty"`
	Denied    bool   `json:"denied,omitempty"`
	Upgrade   string `json:"upgrade,omitempty"`
}

// Run asks the server at baseURL, such as "http://127.0.0.1:8016", each of cases (a slice
// of Case or of what has the same JSON), and fails t with what differs. It installs the
// provider from the npm registry when that was not done yet.
func Run(t testing.TB, baseURL string, cases any) {
	t.Helper()
	folder := npmtest.Install(t)
	data, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cases.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "node", filepath.Join(folder, "check.mjs"), baseURL, file).CombinedOutput()
	if err != nil {
		t.Errorf("the OpenFeature provider disagrees (%v):\n%s", err, out)
		return
	}
	t.Logf("%s", strings.TrimSpace(string(out)))
}
