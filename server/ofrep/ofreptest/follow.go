package ofreptest

import (
	"bufio"
	"encoding/json"
	"io"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tiergate/tiergate/internal/npmtest"
)

// A Follower is a page that shows the value of one flag: the official web provider, which
// asks once and then follows the server's event stream.
type Follower struct {
	t      testing.TB
	values chan string
}

// Follow asks the server at baseURL for a string flag on behalf of a user and follows it until
// the test ends.
func Follow(t testing.TB, baseURL, flag, user string) *Follower {
	t.Helper()
	cmd := exec.Command("node", filepath.Join(npmtest.Install(t), "follow.mjs"), baseURL, flag, user)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints lines
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f := &Follower{t: t, values: make(chan string, 100)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(f.values)
		for all := bufio.NewScanner(out); all.Scan(); {
			var value string
			if json.Unmarshal(all.Bytes(), &value) != nil {
				value = "not JSON: " + all.Text()
			}
			f.values <- value
		}
	}()
	t.Cleanup(func() {
		_ = in.Close()
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		<-read
		if err := cmd.Wait(); err != nil || !kill.Stop() {
			t.Errorf("the page ended with %v\n%s", err, complaints.text)
		}
	})
	return f
}

// Shows waits until the page shows a value, which must be the next one that it shows.
func (f *Follower) Shows(value string) {
	f.t.Helper()
	select {
	case got, ok := <-f.values:
		if got != value || !ok {
			f.t.Fatalf("the page shows %q, want %q", got, value)
		}
	case <-time.After(30 * time.Second):
		f.t.Fatalf("the page does not come to show %q", value)
	}
}

// lines keeps what a program complains of, up to a bound.
type lines struct{ text []byte }

var _ io.Writer = (*lines)(nil)

func (l *lines) Write(b []byte) (int, error) {
	if len(l.text) < 64<<10 {
		l.text = append(l.text, b...)
	}
	return len(b), nil
}
