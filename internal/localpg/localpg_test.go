package localpg

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var fast = map[string]string{"fsync": "off", "shared_buffers": "16MB"}

// TestMain can also be a process that owns a cluster until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("LOCALPG_OWNER_OF"); dir != "" {
		c, err := Start(context.Background(), Config{Dir: dir, Settings: fast})
		if err != nil {
			println(err.Error())
			os.Exit(1)
		}
		_, _ = os.Stdout.WriteString(strconv.Itoa(c.Pid()) + "\n")
		select {}
	}
	dir, err := os.MkdirTemp("", "localpg-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	shared = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// shared is the folder of tests that do not mind an old cluster: making one takes a second.
var shared string

// folder makes a folder that every uid can enter, which t.TempDir is not.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "localpg-") //nolint:usetesting // only its owner can enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, dir string) *Cluster {
	t.Helper()
	c, err := Start(t.Context(), Config{Dir: dir, Settings: fast})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// sql runs a statement with psql, so that this room needs no client.
func sql(t *testing.T, c *Cluster, statement string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(c.Bin(), "psql"), "-XAtc", statement, c.URL("postgres")).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", statement, err, out)
	}
	return strings.TrimSpace(string(out))
}

// A second start finds the data of the first; no start listens on the network; while one
// owns the folder another is refused by one sentence.
func TestStart_keeps_its_data(t *testing.T) {
	dir := shared
	c := start(t, dir)
	sql(t, c, "drop table if exists kept; create table kept as select 42 as answer")
	if got := sql(t, c, "show listen_addresses"); got != "" {
		t.Errorf("it listens on %q", got)
	}
	if _, err := Start(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "is in use by process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("a second owner: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if got := sql(t, start(t, dir), "select answer from kept"); got != "42" {
		t.Errorf("the second start found %q", got)
	}
}

// Root's folder that the server's uid cannot enter points to one that it can; the second
// start goes there too.
func TestStart_in_a_folder_that_the_uid_cannot_enter(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root drops to another uid: nothing to show as uid", os.Geteuid())
		return
	}
	farDirs = filepath.Join(folder(t), "far")
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.MkdirAll(filepath.Join(closed, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	c := start(t, filepath.Join(closed, "data"))
	sql(t, c, "create table kept ()")
	if !strings.HasPrefix(c.place.data, farDirs) {
		t.Errorf("the data is in %s, want below %s", c.place.data, farDirs)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(closed, moved); err != nil {
		t.Fatal(err)
	}
	sql(t, start(t, filepath.Join(moved, "data")), "select from kept")
}

// startOwner starts another process that owns a cluster, and returns it and the server's pid.
func startOwner(t *testing.T, dir string) (*exec.Cmd, int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LOCALPG_OWNER_OF="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, err2 := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || err2 != nil {
		t.Fatalf("the owner said %q: %v", line, errors.Join(err, err2))
	}
	return cmd, pid
}

// A killed owner leaves no server behind: the kernel ends it, or the next start does.
func TestStart_after_a_killed_owner(t *testing.T) {
	dir := shared
	owner, pid := startOwner(t, dir)
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	c := start(t, dir)
	if isServerOf(t.Context(), pid, c.place.data) && pid != c.Pid() {
		t.Errorf("the server %d of the killed owner still runs", pid)
	}
	sql(t, c, "select 1")
}

// A server that outlives its owner is stopped by the next start, whatever the kernel does.
func TestStart_stops_an_orphan(t *testing.T) {
	dir := shared
	c := start(t, dir)
	orphan := c.Pid()
	_ = syscall.Flock(int(c.lock.Fd()), syscall.LOCK_UN) // as if we were dead
	next := start(t, dir)
	if next.Pid() == orphan {
		t.Error("the orphan was not replaced")
	}
	select {
	case <-c.Done():
	case <-time.After(20 * time.Second):
		t.Error("the orphan still runs")
	}
	sql(t, next, "select 1")
}

// A pid file whose process is somebody else, or nobody, does not stand in the way.
func TestStart_with_a_stale_pid_file(t *testing.T) {
	dir := shared
	c := start(t, dir)
	data := c.place.data
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{os.Getpid(), 4194303} {
		text := strconv.Itoa(pid) + "\n" + data + "\n0\n5432\n/nowhere\n\n\nready\n"
		if err := os.WriteFile(filepath.Join(data, "postmaster.pid"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := start(t, dir)
		sql(t, c, "select 1")
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Data of a version that is not installed, damaged data, and a bad setting are one sentence.
func TestStart_refuses(t *testing.T) {
	dir := shared
	if _, err := Start(t.Context(), Config{Dir: dir, Settings: map[string]string{"no_such_setting": "1"}}); err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("a bad setting: %v", err)
	}
	version := filepath.Join(dir, "postgres", "data", "PG_VERSION")
	good, err := os.ReadFile(version)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(version, good, 0o600) })
	for text, want := range map[string]string{"9\n": "made by PostgreSQL 9", "x\n": "is damaged"} {
		if err := os.WriteFile(version, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Start(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("data of version %q: %v", text, err)
		}
	}
}

// A path too long for a socket gets its socket elsewhere, and nothing stays there.
func TestStart_in_a_long_path(t *testing.T) {
	c := start(t, filepath.Join(folder(t), strings.Repeat("long", 30)))
	sql(t, c, "select 1")
	u, err := url.Parse(c.URL("x"))
	if err != nil || u.Path != "/x" || u.Query().Get("host") != c.place.socket {
		t.Errorf("the URL is %q", c.URL("x"))
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.place.socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end the socket's folder is there: %v", err)
	}
}

// fake makes an installation whose postgres says a version.
func fake(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho '"+version+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The newest version counts, or the one that made the data; too old or none is one
// sentence that says what to install.
func TestFind(t *testing.T) {
	old, fifteen, eighteen := fake(t, "postgres (PostgreSQL) 14.9"), fake(t, "postgres (PostgreSQL) 15.2"), fake(t, "postgres (PostgreSQL) 18beta1")
	other := fake(t, "something else")
	for name, c := range map[string]struct {
		dirs []string
		want int
		got  string
		fail string
	}{
		"newest":        {[]string{old, fifteen, eighteen, other}, 0, eighteen, ""},
		"of the data":   {[]string{eighteen, fifteen}, 15, fifteen, ""},
		"none":          {[]string{other}, 0, "", "none was found; install it (Debian: apt install postgresql;"},
		"too old":       {[]string{old}, 0, "", "only 14 was found"},
		"other version": {[]string{eighteen}, 16, "", "made by PostgreSQL 16 and only 18 is installed"},
	} {
		b, err := find(t.Context(), c.dirs, c.want)
		if b.dir != c.got || (err == nil) != (c.fail == "") || (err != nil && (!strings.Contains(err.Error(), c.fail) || !errors.Is(err, ErrNotFound))) {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
	}
}
