package syncer

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tiergate/tiergate"
)

// The data directory holds, all of mode 0600:
//
//	last-known-good           the state in force, as it was saved last
//	last-known-good.previous  the one before, for when the newer one is damaged
//	last-known-good.key       a random key, unless an operator gave one
//	high-water                how far the two files above had come, and how old the first is
//	tombstones                what was deleted, and which keys were revoked
//	lock                      held by the process that uses the directory
//
// Each revision that is handed over gets a local sequence number, which grows across
// restarts and across histories of the source; a state file carries the one of its state.
// So "older" has a meaning even when the source was restored from a dump: a state file
// whose number is lower than the high-water mark says was put back by somebody and is not
// used, and the tombstones with a higher number than the state file's apply on top of it.
//
// The signatures find damage and exchange by whoever lacks the key. With the key in the
// same directory they protect against no one who runs as our user; an operator who wants
// that keeps the key elsewhere and names it. Nobody can find out that the whole directory
// was set back together.
const (
	stateName    = "last-known-good"
	previousName = "last-known-good.previous"
	keyName      = "last-known-good.key"
	markName     = "high-water"
	tombsName    = "tombstones"
	lockName     = "lock"
)

// A mark is how far the files of the directory had come when a save ended, and up to when
// the source has confirmed the state file since: while nothing changes only this small file
// is written.
type mark struct {
	Seq      uint64    `json:"seq"`      // of the state file
	Previous uint64    `json:"previous"` // of the one before
	Tomb     uint64    `json:"tomb"`     // the newest number in the tombstone file
	Epoch    string    `json:"epoch"`    // with Rev: what Seq is, for people
	Rev      int64     `json:"rev"`
	AsOf     time.Time `json:"asOf,omitzero"` // everything committed before is in the state file
}

// A store is the data directory. It is used by one goroutine at a time.
type store struct {
	dir    string
	key    key
	lock   *os.File
	before step
	report func(sentence string) // told which file is not used, and why
	most   int64                 // bytes of a state file

	mark     mark
	seq      uint64 // the highest number in any file
	current  uint64 // of the state file, 0 when there is no good one
	previous uint64 // of the one before, 0 when there is no good one

	candidates []candidate

	tombs      []tombstone // all that is in the tombstone file, or should be
	lastTomb   uint64
	idle       int  // how many needless tombstones are left alone
	tombsStale bool // the tombstone file is not as tombs say: write it anew
}

// openStore takes the directory; given is the operator's key, nil for a random one. Its
// errors are about the directory or the key in it.
func openStore(dir string, given *key, before step, report func(string)) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("use the data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("use the data directory %s: %w", dir, err)
	}
	s := &store{dir: dir, lock: lock, before: before, report: report, most: maxState, idle: 1000}
	if given != nil {
		s.key = *given
	} else if s.key, err = ownKey(dir); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *store) close() { _ = s.lock.Close() }

func (s *store) path(name string) string { return filepath.Join(s.dir, name) }

func (s *store) refuse(name string, err error) {
	s.report(fmt.Sprintf("%s is not used: %v", s.path(name), err))
}

// load reads the mark and the tombstones; next may be called afterwards.
func (s *store) load() {
	if err := s.loadMark(); err != nil {
		s.refuse(markName, err)
	}
	s.seq = s.mark.Seq
	if err := s.loadTombs(s.mark.Tomb); err != nil {
		s.refuse(tombsName, fmt.Errorf("%w; without it a deleted thing might come back, so neither is the last-known-good state", err))
		s.tombsStale = true
		s.seq += 1 << 32 // above any number that the file may have held
		return
	}
	s.seq = max(s.seq, s.lastTomb)
	s.candidates = []candidate{{stateName, s.mark.Seq}, {previousName, s.mark.Previous}}
}

// A candidate is a state file that was not looked at yet, and the number that it must have.
type candidate struct {
	name    string
	atLeast uint64
}

// next returns the newest state file that may be used and was not returned before, checked
// as a whole, or nil, also when ctx ends. The caller closes it.
func (s *store) next(ctx context.Context) *base {
	for len(s.candidates) > 0 {
		c := s.candidates[0]
		s.candidates = s.candidates[1:]
		b, err := s.open(ctx, c.name, c.atLeast)
		if ctx.Err() != nil {
			b.close()
			return nil
		}
		if err != nil {
			s.reportUnused(c.name, err)
			continue
		}
		s.seq = max(s.seq, b.header.Seq)
		if c.name == stateName {
			s.current = b.header.Seq
		} else {
			s.previous = b.header.Seq
		}
		return b
	}
	return nil
}

func (s *store) reportUnused(name string, err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.refuse(name, err)
	}
}

// open checks one state file as a whole.
func (s *store) open(ctx context.Context, name string, atLeast uint64) (*base, error) {
	f, size, err := openOwn(s.path(name), 0o022)
	if err != nil {
		return nil, err
	}
	if size > s.most {
		_ = f.Close()
		return nil, fmt.Errorf("it has %d bytes, and %d are allowed", size, s.most)
	}
	h, start, err := readHeader(ctx, f, size, s.key)
	if err == nil && h.Seq < atLeast {
		err = fmt.Errorf("revision %s is older than what was saved last (%s): it was put back", h.resume().Revision(),
			tiergate.Resume{Epoch: s.mark.Epoch, Rev: s.mark.Rev}.Revision())
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	b := &base{name: s.path(name), file: f, size: size, start: start, header: h, asOf: h.AsOf, gone: map[tombstone]bool{}}
	if h.Seq == s.mark.Seq && s.mark.AsOf.After(h.AsOf) {
		b.asOf = s.mark.AsOf
	}
	for _, t := range s.tombs {
		if !t.revoked && t.seq > h.Seq {
			b.gone[tombstone{kind: t.kind, key: t.key}] = true
		}
	}
	return b, nil
}

// save writes the state, whose number is seq, and keeps the state file before it.
func (s *store) save(r tiergate.Revision, seq uint64, asOf time.Time) error {
	h := header{
		Epoch: r.Resume.Epoch, Rev: r.Resume.Rev, Hash: r.Resume.Hash, Schema: r.Resume.Schema,
		Seq: seq, AsOf: asOf, Created: time.Now().UTC(),
	}
	path := s.path(stateName)
	write := func(w io.Writer) error { return writeState(&boundedWriter{w, s.most}, s.key, h, r.Changes) }
	if err := replaceFile(path, write, s.keepPrevious); err != nil {
		return fmt.Errorf("save %s: %w", path, err)
	}
	s.current, s.seq = seq, max(s.seq, seq)
	if s.tombsStale {
		if err := s.rewriteTombs(); err != nil {
			return err
		}
	}
	m := mark{Seq: seq, Previous: s.previous, Tomb: s.lastTomb, Epoch: h.Epoch, Rev: h.Rev, AsOf: asOf}
	if m.Previous == 0 {
		m.Previous = seq // what lies there, if anything, was not found good
	}
	if err := s.saveMark(m); err != nil {
		return err
	}
	return s.forget(m.Previous)
}

// refresh records that the source has confirmed the state seq up to asOf, if that is the one
// in the state file and it was not known.
func (s *store) refresh(seq uint64, asOf time.Time) error {
	if seq != s.current || seq != s.mark.Seq || !asOf.After(s.mark.AsOf) {
		return nil
	}
	m := s.mark
	m.AsOf = asOf
	return s.saveMark(m)
}

// keepPrevious is a step that moves the good state file aside right before the new one
// takes its place. A damaged one is not kept.
func (s *store) keepPrevious(name string) error {
	if name == "rename" && s.current > 0 {
		if err := s.before("keep previous"); err != nil {
			return err
		}
		if err := os.Rename(s.path(stateName), s.path(previousName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.previous, s.current = s.current, 0
	}
	return s.before(name)
}

func (s *store) saveMark(m mark) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the high-water mark: %w", err)
	}
	line := string(text) + "\n" + hex.EncodeToString(s.key.sign("mark", text)) + "\n"
	err = replaceFile(s.path(markName), func(w io.Writer) error { _, err := io.WriteString(w, line); return err }, s.before)
	if err != nil {
		return fmt.Errorf("save %s: %w", s.path(markName), err)
	}
	s.mark = m
	return nil
}

func (s *store) loadMark() error {
	f, size, err := openOwn(s.path(markName), 0o022)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, min(size, 4096)))
	if err != nil {
		return err
	}
	text, signature, _ := strings.Cut(string(data), "\n")
	want := hex.EncodeToString(s.key.sign("mark", []byte(text))) + "\n"
	var m mark
	if !hmac.Equal([]byte(want), []byte(signature)) || json.Unmarshal([]byte(text), &m) != nil || m.Seq > math.MaxInt64 {
		return errors.New("its signature does not fit: it is damaged, was changed, or was signed with another key")
	}
	s.mark = m
	return nil
}

// A base is a state file that was found good, open for reading, and what must be left out of it.
type base struct {
	name        string
	file        *os.File
	size, start int64
	header      header
	asOf        time.Time          // up to when the source has confirmed this state
	gone        map[tombstone]bool // by kind and key
}

// close may be called on nil.
func (b *base) close() {
	if b != nil {
		_ = b.file.Close()
	}
}

// revision is the state of the file without what was deleted since. If there was
// anything, the result is a state of no history of the source, and says so by an epoch of
// its own, lest a client takes it for one that it has seen.
func (b *base) revision() tiergate.Revision {
	r := tiergate.Revision{Resume: b.header.resume(), Whole: true, At: b.header.Created, Changes: b.changes()}
	if len(b.gone) > 0 {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", b.header.Epoch, b.header.Seq, len(b.gone)))
		r.Resume = tiergate.Resume{Epoch: hex.EncodeToString(sum[:16]), Rev: b.header.Rev}
	}
	return r
}

func (b *base) changes() iter.Seq2[tiergate.Change, error] {
	return func(yield func(tiergate.Change, error) bool) {
		for thing, err := range readThings(b.file, b.start, b.size) {
			if err != nil {
				yield(tiergate.Change{}, err)
				return
			}
			c := tiergate.PutOf(thing)
			if len(b.gone) > 0 && b.gone[tombstone{kind: c.Kind, key: c.Key}] {
				continue
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// resume is where to ask the source to go on: after a mended state at the beginning.
func (b *base) resume() tiergate.Resume {
	if len(b.gone) > 0 {
		return tiergate.Resume{}
	}
	return b.header.resume()
}
