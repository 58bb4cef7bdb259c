package syncer

import (
	"bytes"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/tiergate/tiergate"
)

// A tombstone says that something must not come back from an older file: a thing that was
// deleted at Seq, or, for good, a key that was seen revoked.
type tombstone struct {
	seq     uint64
	revoked bool // a revoked key; otherwise a deleted thing
	kind    tiergate.Kind
	key     string
}

// The tombstone file is eight bytes of magic, then records: the payload's length, its
// complement (so that a damaged length is not taken for the end), the payload, and its
// signature. A payload is a local sequence number, a number of tombstones, and those. The
// first record only says up to where deletes were forgotten.
const (
	tombsMagic   = "TGTOMB1\n"
	maxTombBatch = 1 << 20 // bytes of one payload, more or less
	maxTombFile  = 1 << 30
)

var errTombs = errors.New("it is damaged, or was signed with another key")

func appendTombRecord(dst []byte, k key, seq uint64, tombs []tombstone) []byte {
	payload := binary.AppendUvarint(nil, seq)
	payload = binary.AppendUvarint(payload, uint64(len(tombs)))
	for _, t := range tombs {
		payload = appendBool(binary.AppendUvarint(payload, t.seq), t.revoked)
		payload = appendText(append(payload, kindCodes[t.kind]), t.key)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.BigEndian.AppendUint32(dst, ^uint32(len(payload)))
	return append(append(dst, payload...), k.sign("tombstones", payload)...)
}

// encodeTombs makes records of tombstones, none much larger than maxTombBatch.
func encodeTombs(dst []byte, k key, seq uint64, tombs []tombstone) []byte {
	size, from := 0, 0
	for i, t := range tombs {
		size += len(t.key) + 16
		if size >= maxTombBatch {
			dst = appendTombRecord(dst, k, seq, tombs[from:i+1])
			size, from = 0, i+1
		}
	}
	if from < len(tombs) || len(tombs) == 0 {
		dst = appendTombRecord(dst, k, seq, tombs[from:])
	}
	return dst
}

// decodeTombs reads a whole tombstone file. What a crash left half-written at the end was
// never promised to anybody and is left out: good is where it begins. Everything else that
// does not fit is damage, since what it hides might be a revoked key.
func decodeTombs(data []byte, k key) (tombs []tombstone, last uint64, good int, err error) {
	if len(data) < len(tombsMagic) || string(data[:len(tombsMagic)]) != tombsMagic {
		return nil, 0, 0, errTombs
	}
	for good = len(tombsMagic); good < len(data); {
		rest := data[good:]
		if len(rest) < 8 || len(bytes.Trim(rest, "\x00")) == 0 {
			return tombs, last, good, nil
		}
		n := binary.BigEndian.Uint32(rest)
		if n != ^binary.BigEndian.Uint32(rest[4:]) || n > 2*maxTombBatch {
			return nil, 0, 0, errTombs
		}
		if len(rest) < 8+int(n)+macSize {
			return tombs, last, good, nil
		}
		payload := rest[8 : 8+n]
		if !hmac.Equal(k.sign("tombstones", payload), rest[8+n:8+int(n)+macSize]) {
			return nil, 0, 0, errTombs
		}
		var ok bool
		if tombs, last, ok = decodeTombPayload(payload, tombs, last); !ok {
			return nil, 0, 0, errTombs
		}
		good += 8 + int(n) + macSize
	}
	return tombs, last, good, nil
}

func decodeTombPayload(payload []byte, tombs []tombstone, last uint64) ([]tombstone, uint64, bool) {
	d := decoder{rest: payload}
	seq, count := d.uint(), d.uint()
	for i := uint64(0); i < count && !d.failed; i++ {
		t := tombstone{seq: d.uint(), revoked: d.bool()}
		if code := d.take(1); code != nil {
			t.kind = kindsByCode[code[0]]
		}
		t.key = d.text()
		tombs = append(tombs, t)
	}
	return tombs, max(last, seq), !d.failed && len(d.rest) == 0
}

// loadTombs reads the tombstones of the directory. Without all of them no state file may
// be used.
func (s *store) loadTombs(atLeast uint64) error {
	f, size, err := openOwn(s.path(tombsName), 0o022)
	if errors.Is(err, fs.ErrNotExist) {
		if atLeast > 0 {
			return errors.New("it is missing")
		}
		s.tombsStale = true
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if size > maxTombFile {
		return fmt.Errorf("it has %d bytes", size)
	}
	data, err := io.ReadAll(io.LimitReader(f, size))
	if err != nil {
		return err
	}
	tombs, last, good, err := decodeTombs(data, s.key)
	if err != nil {
		return err
	}
	if last < atLeast {
		return errors.New("its newest records are missing")
	}
	s.tombs, s.lastTomb = tombs, last
	s.tombsStale = good != len(data) // never append after what a crash left behind
	return nil
}

// bury makes tombstones durable, by appending to the file or, where that is not safe, by
// writing it anew. They are kept in memory whatever happens to the disk.
func (s *store) bury(seq uint64, tombs []tombstone) error {
	s.tombs = append(s.tombs, tombs...)
	s.lastTomb = max(s.lastTomb, seq)
	if s.tombsStale {
		return s.rewriteTombs()
	}
	s.tombsStale = true // until it has gone well
	if err := s.appendTombs(encodeTombs(nil, s.key, seq, tombs)); err != nil {
		return fmt.Errorf("append to %s: %w", s.path(tombsName), err)
	}
	s.tombsStale = false
	return nil
}

func (s *store) appendTombs(records []byte) error {
	if err := s.before("append tombstones"); err != nil {
		return err
	}
	f, err := os.OpenFile(s.path(tombsName), os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	half := len(records) / 2
	if _, err := f.Write(records[:half]); err != nil {
		return err
	}
	if err := s.before("append the rest of the tombstones"); err != nil {
		return err
	}
	if _, err := f.Write(records[half:]); err != nil {
		return err
	}
	if err := s.before("sync tombstones"); err != nil {
		return err
	}
	return f.Sync()
}

// rewriteTombs puts a new tombstone file in the place of the old one.
func (s *store) rewriteTombs() error {
	data := encodeTombs([]byte(tombsMagic), s.key, s.lastTomb, s.tombs)
	err := replaceFile(s.path(tombsName), func(w io.Writer) error { _, err := w.Write(data); return err }, s.before)
	if err != nil {
		return fmt.Errorf("write %s: %w", s.path(tombsName), err)
	}
	s.tombsStale = false
	return nil
}

// forget drops the tombstones that no state file needs any more: deletes up to seq. A
// small file is left alone, since writing it anew costs more than it saves.
func (s *store) forget(seq uint64) error {
	kept := s.tombs[:0:0]
	for _, t := range s.tombs {
		if t.revoked || t.seq > seq {
			kept = append(kept, t)
		}
	}
	if !s.tombsStale && len(s.tombs)-len(kept) <= max(s.idle, len(kept)) {
		return nil
	}
	s.tombs = kept
	s.lastTomb = max(s.lastTomb, seq)
	s.tombsStale = true // until it is written
	return s.rewriteTombs()
}
