package flagdapitest

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

// Run asks the server at addr each of cases (of what has the JSON of internal/conformance's)
// through both providers, and fails t with what differs. Then it calls change, which is to turn
// the boolean flag "switch" of the default set from false to true, and restart, which is to
// end the server and start another at the same address, with the flag turned back: both
// providers must follow. It installs them from the npm registry when that was not done yet.
func Run(t testing.TB, addr string, cases any, change, restart func()) {
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
		switch said = lines.Text(); said {
		case "ready":
			change()
		case "changed":
			restart()
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("flagd's providers disagree (%v): %s\n%s", err, said, complaints.String())
		return
	}
	t.Log(said)
}
