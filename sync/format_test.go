package syncer

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
)

var testKey = newKey([]byte("0123456789abcdef0123456789abcdef"))

func things(list ...any) iter.Seq2[tiergate.Change, error] {
	return func(yield func(tiergate.Change, error) bool) {
		for _, t := range list {
			if !yield(tiergate.PutOf(t), nil) {
				return
			}
		}
	}
}

func encoded(t testing.TB, changes iter.Seq2[tiergate.Change, error]) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := writeState(&out, testKey, header{Epoch: epoch, Rev: 7, Hash: "h", Schema: 1, Seq: 3, Created: time.Unix(1, 0)}, changes); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// decoded reads a file all the way, as it is read at a start.
func decoded(data []byte) (list []any, err error) {
	r := bytes.NewReader(data)
	_, start, err := readHeader(context.Background(), r, int64(len(data)), testKey)
	if err != nil {
		return nil, err
	}
	for t, err := range readThings(r, start, int64(len(data))) {
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

// small is a state of some kilobytes that has things of several kinds.
func small() []any {
	return []any{
		&tiergate.Tier{Key: "free", Name: "Free"}, flag("a"), &tiergate.User{ID: "alice", Tier: "free", Attributes: json.RawMessage(`{"a":1}`)},
		&tiergate.Member{TeamID: "acme", UserID: "alice", Role: tiergate.RoleOwner}, apiKey("k", tiergate.KeyActive),
		&tiergate.PolicyBundle{ID: "p", Version: 1, Modules: map[string]string{"access.rego": "package x"}},
	}
}

// Every single bit that is turned, and every length that is cut or padded, is found before anything is used.
func TestState_rejects_every_flip_and_every_truncation(t *testing.T) {
	data := encoded(t, things(small()...))
	got, err := decoded(data)
	if diff := cmp.Diff(small(), got); err != nil || diff != "" {
		t.Fatalf("the file itself: %v (-want +got):\n%s", err, diff)
	}
	for bit := range len(data) * 8 {
		data[bit/8] ^= 1 << (bit % 8)
		if _, _, err := readHeader(context.Background(), bytes.NewReader(data), int64(len(data)), testKey); err == nil {
			t.Fatalf("bit %d of byte %d turned was not found", bit%8, bit/8)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
	for n := range len(data) {
		if _, _, err := readHeader(context.Background(), bytes.NewReader(data[:n]), int64(n), testKey); err == nil {
			t.Fatalf("cut to %d bytes was not found", n)
		}
	}
	if _, err := decoded(append(bytes.Clone(data), 0)); err == nil {
		t.Error("a byte more was not found")
	}
	t.Logf("%d flips and %d truncations", len(data)*8, len(data))
}

// In a file of many blocks a sample of flips and truncations is found as well.
func TestState_rejects_damage_in_large_files(t *testing.T) {
	var list []any
	for i := range 3000 {
		list = append(list, flag(fmt.Sprint(i)))
	}
	data := encoded(t, things(list...))
	if got, err := decoded(data); err != nil || len(got) != 3000 {
		t.Fatalf("%d things, %v", len(got), err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		bit := r.IntN(len(data) * 8)
		data[bit/8] ^= 1 << (bit % 8)
		if _, err := decoded(data); err == nil {
			t.Fatalf("bit %d turned was not found", bit)
		}
		data[bit/8] ^= 1 << (bit % 8)
		if n := r.IntN(len(data)); n > 0 {
			if _, err := decoded(data[:n]); err == nil {
				t.Fatalf("cut to %d bytes was not found", n)
			}
		}
	}
}

// A reader that stops early leaves no goroutine behind, and an error while the state is read ends the save.
func TestState_stops_when_told(t *testing.T) {
	var list []any
	for i := range 5000 {
		list = append(list, flag(fmt.Sprint(i)))
	}
	data := encoded(t, things(list...))
	r := bytes.NewReader(data)
	_, start, err := readHeader(context.Background(), r, int64(len(data)), testKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range readThings(r, start, int64(len(data))) {
		if err != nil {
			t.Fatal(err)
		}
		break // TestMain finds what is left running
	}
	broken := errors.New("broken")
	err = writeState(&bytes.Buffer{}, testKey, header{}, func(yield func(tiergate.Change, error) bool) {
		yield(tiergate.Change{}, broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("writeState returned %v", err)
	}
}

// Every bit that is turned in the tombstone file is found, and a file that breaks off keeps all that was there before.
func TestTombstones_reject_every_flip(t *testing.T) {
	var data []byte
	data = append(data, tombsMagic...)
	var ends []int
	for seq := uint64(1); seq <= 5; seq++ {
		data = encodeTombs(data, testKey, seq, []tombstone{{seq: seq, kind: tiergate.KindFlag, key: "x"}, {seq: seq, revoked: true, kind: tiergate.KindKey, key: fmt.Sprint(seq)}})
		ends = append(ends, len(data))
	}
	for bit := range len(data) * 8 {
		data[bit/8] ^= 1 << (bit % 8)
		if _, _, _, err := decodeTombs(data, testKey); err == nil {
			t.Fatalf("bit %d of byte %d turned was not found", bit%8, bit/8)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
	for n := len(tombsMagic); n < len(data); n++ {
		whole := 0
		for whole < len(ends) && ends[whole] <= n {
			whole++
		}
		tombs, last, _, err := decodeTombs(data[:n], testKey)
		if err != nil || len(tombs) != 2*whole || last != uint64(whole) {
			t.Fatalf("cut to %d bytes: %d tombstones up to %d, %v; want %d", n, len(tombs), last, err, 2*whole)
		}
	}
}

// FuzzLoad reads arbitrary bytes as a state file, as they are and with a signature that
// fits, so that everything behind the signature is reached too. The seeds are in testdata/fuzz.
func FuzzLoad(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, _, err := readHeader(context.Background(), bytes.NewReader(data), int64(len(data)), newKey([]byte("another key of thirty-two bytes!"))); err == nil {
			t.Fatal("a file that was signed with another key is good")
		}
		if len(data) < macSize {
			return
		}
		signed := bytes.Clone(data[:len(data)-macSize])
		signed = append(signed, testKey.sign("state", signed)...)
		list, err := decoded(signed)
		if err != nil {
			return
		}
		// What was read can be written, and comes back as it was.
		again, err := decoded(encoded(t, things(list...)))
		if err != nil {
			t.Fatalf("read, but not after it was written again: %v", err)
		}
		unchanged(t, list, again)
	})
}

// unchanged asks cmp only where there may be a difference: its time doubles with each level
// of nested lists.
func unchanged(t *testing.T, first, second any) {
	t.Helper()
	if reflect.DeepEqual(first, second) {
		return
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Fatalf("changed on its way (-first +second):\n%s", diff)
	}
}

// FuzzTombstones reads arbitrary records with a signature that fits. The seeds are in testdata/fuzz.
func FuzzTombstones(f *testing.F) {
	f.Fuzz(func(t *testing.T, payload []byte) {
		data := []byte(tombsMagic)
		data = binary.BigEndian.AppendUint32(data, uint32(len(payload)))
		data = binary.BigEndian.AppendUint32(data, ^uint32(len(payload)))
		data = append(append(data, payload...), testKey.sign("tombstones", payload)...)
		tombs, last, good, err := decodeTombs(data, testKey)
		if err == nil && (good > len(data) || len(tombs) > len(payload)) {
			t.Fatalf("%d tombstones up to %d of %d bytes, good to %d", len(tombs), last, len(payload), good)
		}
	})
}

// FuzzRecord decodes arbitrary bytes as a record; what can be read comes back as it was. The seeds are in testdata/fuzz.
func FuzzRecord(f *testing.F) {
	f.Fuzz(func(t *testing.T, record []byte) {
		thing, err := newDecoder().thing(record)
		if err != nil {
			return
		}
		again, err := appendRecord(nil, thing)
		if err != nil {
			return // such as metadata that has no JSON form
		}
		got, err := newDecoder().thing(again)
		if err != nil {
			t.Fatalf("read, but not after it was written again: %v", err)
		}
		unchanged(t, thing, got)
	})
}
