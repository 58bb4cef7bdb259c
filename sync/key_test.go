package syncer

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A data directory's own secret is made once, whole and for its owner only; another directory, and
// another name, has another.
func TestOwnSecret_is_made_once(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	made, err := OwnSecret(dir, "a.key")
	if err != nil || len(made) != 2*minKey {
		t.Fatalf("%q, %v", made, err)
	}
	info, err := os.Stat(filepath.Join(dir, "a.key"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("the folder holds %v", left)
	}
	if again, err := OwnSecret(dir, "a.key"); err != nil || !bytes.Equal(made, again) {
		t.Errorf("again: %q, %v", again, err)
	}
	if other, err := OwnSecret(dir, "b.key"); err != nil || bytes.Equal(made, other) {
		t.Errorf("two names have the same secret: %v", err)
	}
	if other, err := OwnSecret(t.TempDir(), "a.key"); err != nil || bytes.Equal(made, other) {
		t.Errorf("two folders have the same secret: %v", err)
	}
}

// A secret is read from a regular file that nobody else could have written; from one's own directory
// also of nobody else, and through no link. Nothing is waited for, and no error tells the secret.
func TestSecrets_that_are_refused(t *testing.T) {
	dir, text := t.TempDir(), strings.Repeat("k", minKey)
	file := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	file("good", text+"\r\n", 0o600)
	file("readable", text, 0o644)
	file("writable", text, 0o620)
	file("short", text[1:]+"\n", 0o600)
	file("long", strings.Repeat("k", maxKey+1), 0o600)
	if err := os.Symlink("good", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct{ given, own bool }{
		"good": {true, true}, "readable": {true, false}, "link": {true, false},
		"writable": {}, "short": {}, "long": {}, "folder": {}, "pipe": {},
	} {
		for how, tc := range map[string]struct {
			read func() ([]byte, error)
			want bool
		}{
			"given": {func() ([]byte, error) { return ReadSecret(filepath.Join(dir, name)) }, want.given},
			"own":   {func() ([]byte, error) { return OwnSecret(dir, name) }, want.own},
		} {
			hangs := time.AfterFunc(20*time.Second, func() { panic("it waits for " + name) })
			got, err := tc.read()
			hangs.Stop()
			if tc.want != (err == nil && string(got) == text) || !tc.want && (err == nil || got != nil || strings.Contains(err.Error(), text[1:])) {
				t.Errorf("%s, %s: %q, %v", name, how, got, err)
			}
		}
	}
	if got, err := ReadSecret(filepath.Join(dir, "none")); err == nil || got != nil {
		t.Errorf("no file: %q, %v", got, err)
	}
}
