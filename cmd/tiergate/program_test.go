package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tiergate/tiergate/internal/porttest"
)

// A program is tiergate as a process of its own.
type program struct {
	cmd  *exec.Cmd
	http string // the address of OFREP
	grpc string // "" is none
	ops  string
	adm  string
	out  output
	done chan struct{}

	scheme string       // of all its doors; "" is http
	client *http.Client // nil is the default
	counts bool         // its ledger has answered
}

func (p *program) url(addr, path string) string {
	return cmp.Or(p.scheme, "http") + "://" + addr + path
}

func (p *program) visitor() *http.Client { return cmp.Or(p.client, http.DefaultClient) }

// An output is read while the program writes it.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// launch starts tiergate with a command's arguments; it is killed when the test ends.
func launch(t *testing.T, dir string, args ...string) *program {
	t.Helper()
	return launchOn(t, &program{http: porttest.Addr(t), ops: porttest.Addr(t), adm: porttest.Addr(t)}, dir, args...)
}

// launchOn starts tiergate on the addresses of p.
func launchOn(t *testing.T, p *program, dir string, args ...string) *program {
	t.Helper()
	p.done = make(chan struct{})
	all := append([]string{args[0], "--data-dir", dir, "--ops-addr", p.ops}, args[1:]...)
	if args[0] != "admin" {
		all = append(all, "--http-addr", p.http)
	}
	if p.grpc != "" {
		all = append(all, "--grpc-addr", p.grpc)
	}
	if args[0] != "sidecar" {
		all = append(all, "--admin-addr", p.adm)
	}
	p.cmd = exec.Command(os.Args[0], all...)
	p.cmd.Env = append(os.Environ(), "TIERGATE_RUN_MAIN=1", "TIERGATE_ADMIN_TOKEN="+adminToken)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("%v said:\n%s", args, p.out.String())
		}
	})
	return p
}

const adminToken = "a-token-for-tests"

// stop asks the program to end and says how it did.
func (p *program) stop(t *testing.T, sig os.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		t.Fatalf("the program does not end after %v", sig)
	}
	return p.cmd.ProcessState.ExitCode()
}

// eventually polls until ok says so.
func (p *program) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		select {
		case <-p.done:
			t.Fatalf("the program ended before %s", what)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("not within half a minute: %s", what)
		}
	}
}

func (p *program) waitReady(t *testing.T) {
	t.Helper()
	p.eventually(t, "it is ready", func() bool { return strings.Contains(p.get("/readyz"), `"ready":true`) })
}

func (p *program) get(path string) string {
	resp, err := p.visitor().Get(p.url(p.ops, path))
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return string(text)
}

// ask evaluates a flag over OFREP and returns the status and the answer.
func (p *program) ask(t *testing.T, flag string, context any, header ...string) (int, map[string]any) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"context": context})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url(p.http, "/ofrep/v1/evaluate/flags/"+flag), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return p.do(t, req, header...)
}

// admin sends a request to the admin API.
func (p *program) admin(t *testing.T, method, path, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.url(p.adm, path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	kind := "application/json"
	if method == http.MethodPatch {
		kind = "application/merge-patch+json"
	}
	return p.do(t, req, "Authorization", "Bearer "+adminToken, "Content-Type", kind)
}

func (p *program) do(t *testing.T, req *http.Request, header ...string) (int, map[string]any) {
	t.Helper()
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.visitor().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	if len(text) > 0 {
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatalf("%s %s answers %d with %q", req.Method, req.URL, resp.StatusCode, text)
		}
	}
	return resp.StatusCode, answer
}

// command runs a command to its end.
func command(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "TIERGATE_RUN_MAIN=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if stderr.Len() > 0 {
		t.Logf("%v: %s", args, stderr.String())
	}
	return stdout.String(), cmd.ProcessState.ExitCode()
}

// dataDir makes a data directory that another uid may enter, for Postgres.
func dataDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "data")
}

// value returns a field of an answer as text, "" when there is none.
func value(answer map[string]any, path ...string) string {
	var v any = answer
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// commandWithErr runs a command to its end and returns what it said on stderr.
func commandWithErr(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "TIERGATE_RUN_MAIN=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return stderr.String(), cmd.ProcessState.ExitCode()
}
