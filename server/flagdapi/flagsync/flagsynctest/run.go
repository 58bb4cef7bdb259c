package flagsynctest

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tiergate/tiergate/internal/npmtest"
)

// A Case is one question and what the SDK must make of the document.
type Case struct {
	Story   string         `json:"story"`
	Set     string         `json:"set,omitempty"` // "" for no selector
	Flag    string         `json:"flag"`
	Context map[string]any `json:"context"`
	Want    Want           `json:"want"`
}

// Want is what the caller gets to see. A nil Value means the caller's code default.
type Want struct {
	Value     any    `json:"value,omitempty"`
	Variant   string `json:"variant"`
	Reason    string `json:"reason"`
	ErrorCode string `json:"errorCode,omitempty"`
}

// Run asks each of cases of the provider in process, which follows the server at addr, and
// fails t with what differs. A change that is not nil is then called, and must change the
// flag of the first case. It installs the provider from the npm registry when that was not
// done yet.
func Run(t testing.TB, addr string, cases []Case, change func()) {
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
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join(folder, "check.mjs"), host, port, file)
	if change != nil {
		cmd.Env = append(os.Environ(), "FLAGSYNC_TEST_CHANGE=1")
	}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if said = lines.Text(); said == "ready" && change != nil {
			change()
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the OpenFeature provider disagrees (%v): %s\n%s", err, said, complaints.String())
		return
	}
	t.Log(said)
}
