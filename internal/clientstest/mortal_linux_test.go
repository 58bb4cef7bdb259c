package clientstest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestMain is, when it is told so, a test binary that starts a script and is killed.
func TestMain(m *testing.M) {
	if os.Getenv("CLIENTSTEST_KILLED") == "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("sleep", "60")
	cmd.Stderr = os.Stderr // which its reader sees end when nobody holds it any more
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = launch(cmd, out, make(chan string))
	}
	fmt.Fprintln(os.Stderr, "started", err)
	select {}
}

// A test binary that is killed leaves no script behind.
func TestLaunch_ends_with_a_process_that_is_killed(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CLIENTSTEST_KILLED=1")
	held, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	said := bufio.NewReader(held)
	if line, err := said.ReadString('\n'); err != nil || line != "started <nil>\n" {
		t.Fatalf("it says %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, said)
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Errorf("after %v the script goes on", patience)
	}
}
