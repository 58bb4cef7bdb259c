package spool

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// whole makes the bytes of a segment with some records in groups.
func whole(first int64, groups ...int) []byte {
	data, seed := header{log: [16]byte{1}, start: mark{number: first}}.encode()
	for n := first; len(groups) > 0; groups = groups[1:] {
		for place := range groups[0] {
			rec := gather(nil, idFor(uint64(n)), bytes.Repeat([]byte{byte(n)}, int(n)%7))
			seal(rec, seed, n, 1, uint32(place))
			data = append(data, rec...)
			n++
		}
	}
	return data
}

// Any bytes may be found as a segment. What is read of them is records with their own numbers
// in order, which encode to the same bytes; nothing behind the first that does not read is
// taken for one; and reading a prefix finds a prefix.
func FuzzSegment(f *testing.F) {
	f.Add(whole(0, 3, 1, 4))
	f.Add(whole(7, 1)[:headerSize+20])
	f.Fuzz(func(t *testing.T, data []byte) {
		h, seed, ok := decodeHeader(data)
		if !ok {
			return
		}
		again, same := h.encode()
		if same != seed || !bytes.Equal(again[:headerUsed+4], data[:headerUsed+4]) {
			t.Fatal("the header does not encode to what it was decoded from")
		}
		s := scan(data, h, seed, h.start.number+1000, true)
		if s.used < headerSize || s.used > int64(len(data)) || s.torn > int64(len(data))-s.used || s.later != 0 && s.later <= s.end {
			t.Fatalf("impossible: %+v of %d bytes", s, len(data))
		}
		at := int64(headerSize)
		for n := h.start.number; n < s.end; n++ {
			rec := data[at : at+int64(sizeOf(data[at:]))]
			copied := gather(nil, idOf(rec), payloadOf(rec))
			seal(copied, seed, n, timeOf(rec), uint32(n-groupOf(rec)))
			if !bytes.Equal(copied, rec) {
				t.Fatalf("record %d does not encode to what it was decoded from", n)
			}
			at += int64(len(rec))
		}
		if at != s.used {
			t.Fatalf("%d bytes of records end at %d", at, s.used)
		}
		if part := scan(data[:s.used], h, seed, h.start.number+1000, true); part.end != s.end || part.used != s.used || part.torn != 0 {
			t.Fatalf("the records alone are %+v, and were %+v", part, s)
		}
	})
}

// The committed seeds are segments, so that the fuzzer starts behind the checksum.
func TestFuzzSegment_seeds_are_segments(t *testing.T) {
	seeds, err := filepath.Glob("testdata/fuzz/FuzzSegment/*")
	if err != nil || len(seeds) < 4 {
		t.Fatalf("%d seeds, %v", len(seeds), err)
	}
	for _, name := range seeds {
		text, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(text, []byte(headerMagic)) {
			t.Errorf("%s is not a segment: %v", name, err)
		}
	}
}
