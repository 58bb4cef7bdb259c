package examples_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// build compiles one of the examples.
func build(t *testing.T, pkg string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), filepath.Base(pkg))
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, pkg).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return bin
}

// output keeps what a process says.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs a process until the test ends, and then ends it gently; that it ends well is part
// of the test. exited is closed when it has ended.
func start(t *testing.T, bin string, args ...string) (stdout io.Reader, said *output, exited <-chan struct{}) {
	t.Helper()
	cmd := exec.Command(bin, args...)
	said = new(output)
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", bin, err)
	}
	done := make(chan struct{})
	var ended error
	go func() {
		ended = cmd.Wait()
		_ = w.Close()
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-done
		}
		if t.Failed() && said.String() != "" {
			t.Logf("%s said:\n%s", filepath.Base(bin), said)
		}
		if ended != nil {
			t.Errorf("%s ended with %v:\n%s", filepath.Base(bin), ended, said)
		}
	})
	return r, said, done
}

// listening reads the address that an example prints when it listens.
func listening(t *testing.T, stdout io.Reader, said *output) string {
	t.Helper()
	r := bufio.NewReader(stdout)
	line, err := r.ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		t.Fatalf("it does not listen: %q, %v\n%s", line, err, said)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	return addr
}

// awaitListener returns once somebody listens at addr.
func awaitListener(t *testing.T, addr string, said *output, exited <-chan struct{}) {
	t.Helper()
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-exited:
			t.Fatalf("it has ended:\n%s", said)
		case <-t.Context().Done():
			t.Fatal("it does not listen")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

type answered struct {
	status int
	header http.Header
	body   string
}

// request sends one request; headers are "Name: value".
func request(t *testing.T, method, url, body string, headers ...string) answered {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		if name, value, ok := strings.Cut(h, ": "); ok {
			r.Header.Add(name, value)
		}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{res.StatusCode, res.Header, strings.TrimSpace(string(text))}
}

// required says whether a tool that is not there is a failure.
func required(tool string) bool {
	for name := range strings.SplitSeq(os.Getenv("TIERGATE_REQUIRE"), ",") {
		if strings.TrimSpace(name) == tool {
			return true
		}
	}
	return false
}
