package clientstest

import (
	"bufio"
	"bytes"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tiergate/tiergate/internal/npmtest"
)

// patience is how long a script may be silent when it should say something.
const patience = 30 * time.Second

// A Script is JavaScript that Node runs in a process of its own, until it ends or the test does. On
// Linux it ends, too, when the test's own process is killed.
type Script struct {
	t          testing.TB
	name       string
	in         io.WriteCloser
	lines      chan string // closed when it has said everything
	complaints *complaints
}

// complaints are what a script writes to its standard error.
type complaints struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *complaints) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(b)
}

func (c *complaints) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// RunText runs a module's text as if it stood in the project's folder. Its standard input is the
// text, so that it cannot be told anything.
func RunText(t testing.TB, name, text string) *Script {
	t.Helper()
	return start(t, name, strings.NewReader(text), "--import", "./browser.mjs", "--input-type=module", "-")
}

// start runs node with arguments; without an input, say sends lines.
func start(t testing.TB, name string, input io.Reader, args ...string) *Script {
	t.Helper()
	cmd := exec.Command("node", args...)
	cmd.Dir = npmtest.Install(t)
	cmd.Stdin = input
	s := &Script{t: t, name: name, lines: make(chan string, 1000), complaints: new(complaints)}
	cmd.Stderr = s.complaints
	if input == nil {
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		s.in = in
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := launch(cmd, out, s.lines); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for range s.lines { // until it has ended
		}
		_ = cmd.Wait()
		if text := s.complaints.String(); t.Failed() && text != "" {
			t.Logf("%s complained:\n%s", name, text)
		}
	})
	return s
}

// launch starts a command and hands on the lines that come out of it, until there are no more. It
// does so on a thread of its own: the kernel ends the command with the thread that started it.
func launch(cmd *exec.Cmd, out io.Reader, lines chan<- string) error {
	cmd.SysProcAttr = mortal()
	started := make(chan error)
	go func() {
		defer close(lines)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if started <- err; err != nil {
			return
		}
		for all := bufio.NewScanner(out); all.Scan(); {
			lines <- all.Text()
		}
	}()
	return <-started
}

// Line waits for the next line and returns it; none is a failure.
func (s *Script) Line() string {
	s.t.Helper()
	select {
	case line, ok := <-s.lines:
		if !ok {
			s.t.Fatalf("%s has ended:\n%s", s.name, s.complaints)
		}
		return line
	case <-time.After(patience):
		s.t.Fatalf("%s says nothing:\n%s", s.name, s.complaints)
	}
	return ""
}

// Rest waits until the script has ended by itself and returns what was still to be read.
func (s *Script) Rest() string {
	s.t.Helper()
	var said strings.Builder
	for end := time.After(patience); ; {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return said.String()
			}
			said.WriteString(line + "\n")
		case <-end:
			s.t.Fatalf("%s does not end:\n%s%s", s.name, said.String(), s.complaints)
		}
	}
}
