// Package npmtest puts the packages of a test's own Node project in place.
package npmtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// Install returns the folder of the file that calls it, a Node project with a package-lock.json,
// with its packages installed from the npm registry. It fails t when Node or npm is missing. A
// lock keeps two tests, also of two processes, from installing at once. A registry that does not answer
// is asked again for half a minute.
func Install(t testing.TB) string {
	t.Helper()
	_, caller, _, _ := runtime.Caller(1)
	return InstallIn(t, filepath.Dir(caller))
}

// InstallIn is Install of the project in a folder.
func InstallIn(t testing.TB, folder string) string {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("this test runs official OpenFeature packages for Node and needs %s: install Node 20 or newer", tool)
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
	for tries := 1; ; tries++ { // the registry, or the way to it, may be away for a moment
		npm := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline", "--fetch-retries=5")
		npm.Dir = folder
		out, err := npm.CombinedOutput()
		if err == nil {
			return folder
		}
		if tries == 4 {
			t.Fatalf("npm ci in %s: %v\n%s", folder, err, out)
		}
		t.Logf("npm ci in %s: %v, once more", folder, err)
		time.Sleep(time.Duration(tries) * 5 * time.Second)
	}
}
