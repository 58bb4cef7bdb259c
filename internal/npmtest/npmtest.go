// Package npmtest puts the packages of a test's own Node project in place.
package npmtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// Install returns the folder of the file that calls it, a Node project with a package-lock.json,
// with its packages installed from the npm registry. It fails t when Node or npm is missing. A
// lock keeps two tests, also of two processes, from installing at once.
func Install(t testing.TB) string {
	t.Helper()
	_, caller, _, _ := runtime.Caller(1)
	folder := filepath.Dir(caller)
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("this test asks through official OpenFeature providers for Node and needs %s: install Node 20 or newer", tool)
		}
	}
	lock, err := os.Open(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	wanted, err := lock.Stat()
	if err != nil {
		t.Fatal(err)
	}
	done, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json"))
	if err == nil && !done.ModTime().Before(wanted.ModTime()) {
		return folder
	}
	npm := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	npm.Dir = folder
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm ci in %s: %v\n%s", folder, err, out)
	}
	return folder
}
