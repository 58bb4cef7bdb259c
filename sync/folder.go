package syncer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/flagd"
)

// Bounds of a folder.
const (
	maxFiles        = 10_000
	maxSettingsFile = 64 << 20 // bytes of tiers.yaml and of teams.yaml
	maxPolicyFile   = 1 << 20  // bytes of one Rego module
)

// racy is how near to a file's time of change a reading may have missed a later change
// within the same tick of the file system's clock.
const racy = 2 * time.Second

// A folder is what we know of a directory: of each file its last good content.
type folder struct {
	dir   string
	files map[string]*file
	admit func(ctx context.Context, modules map[string]string) (string, error)

	tried   string // the hash of the modules that were last held against admission
	refused error  // what came of it
	bundle  *tiergate.PolicyBundle
	bundles int64
}

func newFolder(dir string, admit func(context.Context, map[string]string) (string, error)) folder {
	return folder{dir: dir, files: map[string]*file{}, admit: admit}
}

// A file is one file of the folder.
type file struct {
	info    os.FileInfo
	read    time.Time
	sum     [sha256.Size]byte
	missing time.Time // since when it is away; zero when it is there
	problem error     // why the newest content is not used

	// The last good content: of one kind, or nothing at all.
	flags    *flagd.File
	settings *settings
	module   string
	good     bool
}

// scan reads what changed in the folder. A file that vanished keeps its content for the
// time of grace; away says that there is such a file.
func (d *folder) scan(now time.Time, grace time.Duration) (away bool, err error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return false, fmt.Errorf("read the folder of flag files: %w", err)
	}
	found := map[string]bool{}
	for _, e := range entries {
		if !isOurs(e.Name()) {
			continue
		}
		if len(found) == maxFiles {
			return false, fmt.Errorf("read the folder of flag files: %s has more than %d of them", d.dir, maxFiles)
		}
		if d.readFile(e.Name(), now) {
			found[e.Name()] = true
		}
	}
	for name, f := range d.files {
		switch {
		case found[name]:
			f.missing = time.Time{}
		case f.missing.IsZero():
			f.missing, away = now, true
		case now.Sub(f.missing) < grace:
			away = true
		default:
			delete(d.files, name)
		}
	}
	return away, nil
}

func isOurs(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "_test.rego") {
		return false
	}
	return slices.Contains([]string{".json", ".yaml", ".yml", ".rego"}, filepath.Ext(name))
}

func isSettings(name string) bool {
	return slices.Contains([]string{"tiers", "teams"}, strings.TrimSuffix(strings.TrimSuffix(name, ".yaml"), ".yml"))
}

// readFile takes in one file, and reports false when there is no such file.
func (d *folder) readFile(name string, now time.Time) bool {
	path := filepath.Join(d.dir, name)
	info, err := os.Stat(path) // follows symbolic links, as mounted configuration has them
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	f := d.files[name]
	if f == nil {
		f = &file{}
		d.files[name] = f
	}
	if err != nil {
		f.problem = err
		return true
	}
	if f.info != nil && os.SameFile(info, f.info) && info.Size() == f.info.Size() &&
		info.ModTime().Equal(f.info.ModTime()) && f.read.Sub(info.ModTime()) > racy {
		return true
	}
	data, err := readRegular(path, sizeLimit(name))
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	if err != nil {
		f.problem, f.info = err, nil
		return true
	}
	sum := sha256.Sum256(data)
	known := f.info != nil && sum == f.sum
	f.info, f.read, f.sum = info, now, sum
	if !known {
		f.problem = f.take(name, data)
	}
	return true
}

func sizeLimit(name string) int64 {
	switch {
	case filepath.Ext(name) == ".rego":
		return maxPolicyFile
	case isSettings(name):
		return maxSettingsFile
	}
	return flagd.MaxBytes
}

// readRegular reads a file of at most limit bytes; it never waits for anybody who writes
// into a pipe.
func readRegular(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("larger than %d bytes", limit)
	}
	return data, err
}

// take parses new content; what was there stays if that is not possible. One file on which
// a parser panics must not keep all others from being read.
func (f *file) take(name string, data []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("bug: reading it panicked: %v", p)
		}
	}()
	switch {
	case filepath.Ext(name) == ".rego":
		f.module = string(data)
	case isSettings(name):
		parsed, err := parseSettings(name, data)
		if err != nil {
			return err
		}
		f.settings = parsed
	default:
		parsed, err := flagd.Parse(data)
		if err != nil {
			return err
		}
		f.flags = &parsed
	}
	f.good = true
	return nil
}

// assemble puts the files together, in the order of their names, and says what is wrong.
func (d *folder) assemble(ctx context.Context) *assembly {
	a := &assembly{state: state{}, from: map[thingID]string{}, sets: map[string]*tiergate.FlagSet{}}
	modules := map[string]string{}
	hasTiers := false
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		f := d.files[name]
		switch {
		case f.problem == nil:
		case f.good:
			a.problem("%s: %s; its last good content stays in force", name, oneLine(f.problem))
		default:
			a.lost(isSettings(name) || filepath.Ext(name) == ".rego", fmt.Sprintf("%s: %s", name, oneLine(f.problem)))
		}
		switch {
		case f.flags != nil:
			a.addFlags(name, f.flags)
		case f.settings != nil:
			hasTiers = hasTiers || len(f.settings.Tiers) > 0
			a.addSettings(name, f.settings)
		case f.good:
			modules[name] = f.module
		}
	}
	for _, set := range a.sets {
		a.put("", set)
	}
	if !hasTiers {
		a.put("", &tiergate.Tier{Key: "free", Name: "Free"})
	}
	a.checkTiers()
	if bundle := d.admitted(ctx, modules, a); bundle != nil {
		a.put("", bundle)
	}
	return a
}

// admitted returns the policy bundle to be in force: the one of these modules, or if they
// are not admitted the last one that was; nil for none.
func (d *folder) admitted(ctx context.Context, modules map[string]string, a *assembly) *tiergate.PolicyBundle {
	if len(modules) == 0 {
		d.bundle, d.tried, d.refused = nil, "", nil
		return nil
	}
	if hash := tiergate.ModulesHash(modules); hash != d.tried {
		admission, err := "", errors.New("nobody here admits policies")
		if d.admit != nil {
			admission, err = d.admit(ctx, modules)
		}
		if ctx.Err() != nil {
			return d.bundle
		}
		d.tried, d.refused = hash, err
		if err == nil {
			d.bundles++
			d.bundle = &tiergate.PolicyBundle{
				ID: "file", Version: d.bundles, Modules: modules, Hash: hash,
				Admission: admission, CreatedAt: time.Now().UTC(),
			}
		}
	}
	if d.refused != nil {
		if d.bundle != nil {
			a.problem("the policy is not admitted: %v; the last good policy stays in force", d.refused)
		} else {
			a.lost(true, fmt.Sprintf("the policy is not admitted: %v", d.refused))
		}
	}
	return d.bundle
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
