package localpg

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// An account is whom the server runs as. PostgreSQL refuses to run as root.
type account struct {
	uid, gid int
	drop     bool // we are root and become somebody else
}

// farDirs is where the cluster of a folder goes that the account cannot enter.
var farDirs = "/var/lib/tiergate"

// A place says where the parts of a cluster are.
type place struct {
	lock   string // held by the process that owns the cluster
	base   string // the folder of the server's own uid
	data   string
	socket string // the folder of the Unix socket
	log    string
}

const pointerFile = "postgres.location"

// newPlace chooses and creates the folders of the cluster that belongs to dir. What
// root's dir hides from the account goes to a folder below farDirs, and a pointer file in
// dir says which, so that the next start finds its data.
func newPlace(dir string, who account) (place, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return place{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return place{}, fmt.Errorf("make the data directory: %w", err)
	}
	base, err := baseOf(dir, who)
	if err != nil {
		return place{}, err
	}
	p := place{lock: filepath.Join(dir, "postgres.lock"), base: base, data: filepath.Join(base, "data"), log: filepath.Join(base, "postgres.log")}
	if err := own(base, who); err != nil {
		return place{}, err
	}
	p.socket = filepath.Join(base, "run")
	if len(p.socket)+len("/.s.PGSQL.5432") > 100 { // sun_path has 104 bytes on macOS, 108 on Linux
		p.socket = filepath.Join(os.TempDir(), "tiergate-"+shortHash(base))
	}
	return p, own(p.socket, who)
}

func baseOf(dir string, who account) (string, error) {
	pointer := filepath.Join(dir, pointerFile)
	if text, err := os.ReadFile(pointer); err == nil {
		return strings.TrimSpace(string(text)), nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if !who.drop || canEnter(dir, who) {
		return filepath.Join(dir, "postgres"), nil
	}
	base := filepath.Join(farDirs, "postgres-"+shortHash(dir))
	if err := os.MkdirAll(farDirs, 0o755); err != nil {
		return "", fmt.Errorf("uid %d cannot enter %s, and a folder that it can enter cannot be made: %w", who.uid, dir, err)
	}
	if err := os.Chmod(farDirs, 0o755); err != nil { // whatever our umask is
		return "", err
	}
	if !canEnter(farDirs, who) {
		return "", fmt.Errorf("Postgres would run as uid %d, which can enter neither %s nor %s; use another data directory", who.uid, dir, farDirs)
	}
	if err := os.WriteFile(pointer, []byte(base+"\n"), 0o644); err != nil {
		return "", err
	}
	return base, nil
}

// canEnter reports whether the account may search every folder from the root to dir.
func canEnter(dir string, who account) bool {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	for ; ; real = filepath.Dir(real) {
		info, err := os.Stat(real)
		if err != nil {
			return false
		}
		st := info.Sys().(*syscall.Stat_t)
		bit := fs.FileMode(0o001)
		switch {
		case int(st.Uid) == who.uid:
			bit = 0o100
		case int(st.Gid) == who.gid:
			bit = 0o010
		}
		if info.Mode().Perm()&bit == 0 {
			return false
		}
		if real == filepath.Dir(real) {
			return true
		}
	}
}

// own makes a folder that only the account can enter, or checks that it is one: the
// socket below it trusts whoever reaches it.
func own(dir string, who account) error {
	if err := os.Mkdir(dir, 0o700); err == nil {
		if who.drop {
			return os.Chown(dir, who.uid, who.gid)
		}
		return nil
	} else if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make a folder for Postgres: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || int(st.Uid) != who.uid {
		return fmt.Errorf("%s belongs to uid %d and Postgres would run as uid %d; start as that user or use another data directory", dir, st.Uid, who.uid)
	}
	return os.Chmod(dir, 0o700)
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}
