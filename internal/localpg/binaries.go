package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// MinMajor is the oldest PostgreSQL that tiergate works with.
const MinMajor = 15

const howToInstall = "Debian: apt install postgresql; macOS: brew install postgresql@17"

// ErrNotFound is in the chain of the error when the machine has no usable PostgreSQL.
var ErrNotFound = errors.New("no usable PostgreSQL on this machine")

// binaries are the programs of one PostgreSQL installation.
type binaries struct {
	dir   string
	major int
}

func (b binaries) path(program string) string { return filepath.Join(b.dir, program) }

// places are where packages put PostgreSQL's server programs, besides PATH.
var places = []string{
	"/usr/lib/postgresql/*/bin",                                           // Debian, Ubuntu
	"/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin", // Homebrew
	"/usr/pgsql-*/bin",         // RPM packages of the PostgreSQL project
	"/usr/libexec/postgresql*", // Alpine
	"/usr/local/pgsql/bin",     // built from source
	"/Library/PostgreSQL/*/bin", "/Applications/Postgres.app/Contents/Versions/*/bin",
}

// candidates are the directories with a postgres and an initdb, each once.
func candidates() []string {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	for _, pattern := range places {
		found, _ := filepath.Glob(pattern) // only a bad pattern is an error
		dirs = append(dirs, found...)
	}
	var out []string
	for _, dir := range dirs {
		if real, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres")); err == nil {
			dir = filepath.Dir(real) // where its sisters are
		}
		if dir == "" || slices.Contains(out, dir) {
			continue
		}
		if isProgram(filepath.Join(dir, "postgres")) && isProgram(filepath.Join(dir, "initdb")) {
			out = append(out, dir)
		}
	}
	return out
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// find returns the newest usable installation, or the one of the wanted major version
// when want is not 0.
func find(ctx context.Context, dirs []string, want int) (binaries, error) {
	var best binaries
	var seen []string
	for _, dir := range dirs {
		major, err := majorOf(ctx, filepath.Join(dir, "postgres"))
		if err != nil {
			continue // a program of that name that is not PostgreSQL
		}
		seen = append(seen, strconv.Itoa(major))
		if want != 0 && major != want || major < MinMajor {
			continue
		}
		if major > best.major {
			best = binaries{dir, major}
		}
	}
	switch {
	case best.major != 0:
		return best, nil
	case len(seen) == 0:
		return binaries{}, fmt.Errorf("PostgreSQL %d or later is needed and none was found; install it (%s): %w", MinMajor, howToInstall, ErrNotFound)
	case want != 0:
		return binaries{}, fmt.Errorf("the data was made by PostgreSQL %d and only %s is installed; install PostgreSQL %d or move the data away: %w",
			want, strings.Join(seen, ", "), want, ErrNotFound)
	}
	return binaries{}, fmt.Errorf("PostgreSQL %d or later is needed and only %s was found; install it (%s): %w",
		MinMajor, strings.Join(seen, ", "), howToInstall, ErrNotFound)
}

var versionRE = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func majorOf(ctx context.Context, postgres string) (int, error) {
	out, err := exec.CommandContext(ctx, postgres, "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("ask %s for its version: %w", postgres, err)
	}
	m := versionRE.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("%s is not PostgreSQL: it says %.80q", postgres, out)
	}
	return strconv.Atoi(string(m[1]))
}
