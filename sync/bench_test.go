package syncer

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"testing"

	"github.com/tiergate/tiergate"
)

// manyFlags yields n flags as real ones are: three variants, a rule, some metadata.
func manyFlags(n int) iter.Seq2[tiergate.Change, error] {
	return func(yield func(tiergate.Change, error) bool) {
		for i := range n {
			f := flag(fmt.Sprintf("flag-%06d", i))
			f.Title, f.Description = "Flag "+fmt.Sprint(i), "What this flag is for, in a sentence."
			f.Type = tiergate.String
			f.Variants = map[string]json.RawMessage{"on": json.RawMessage(`"on"`), "off": json.RawMessage(`"off"`), "half": json.RawMessage(fmt.Sprintf(`"half %d"`, i))}
			f.Rules.Targeting = json.RawMessage(fmt.Sprintf(`{"if":[{"==":[{"var":"email"},"%d@example.com"]},"half","on"]}`, i))
			if !yield(tiergate.PutOf(f), nil) {
				return
			}
		}
	}
}

func manyUsers(n int) iter.Seq2[tiergate.Change, error] {
	return func(yield func(tiergate.Change, error) bool) {
		for i := range n {
			u := &tiergate.User{ID: fmt.Sprintf("user-%07d", i), Tier: "free", Attributes: json.RawMessage(`{"country":"DE"}`)}
			m := &tiergate.Member{TeamID: fmt.Sprintf("team-%06d", i/10), UserID: u.ID, Role: tiergate.RoleMember}
			if !yield(tiergate.PutOf(u), nil) || !yield(tiergate.PutOf(m), nil) {
				return
			}
		}
	}
}

// The way from a file to things: hold it against its signature, decode it.
func BenchmarkLoad(b *testing.B) {
	for name, changes := range map[string]iter.Seq2[tiergate.Change, error]{
		"100000_flags":            manyFlags(100_000),
		"1000000_users_in_a_team": manyUsers(1_000_000),
	} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			s, err := openStore(dir, &testKey, noStep, func(p string) { b.Fatal(p) })
			if err != nil {
				b.Fatal(err)
			}
			defer s.close()
			r := tiergate.Revision{Resume: at(1), Whole: true, Changes: changes}
			if err := s.save(r, 1, r.At); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				base, err := s.open(b.Context(), stateName, 1)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(base.size)
				n := 0
				for c, err := range base.revision().Changes {
					if err != nil || c.Put == nil {
						b.Fatal(err)
					}
					n++
				}
				base.close()
				if n < 100_000 {
					b.Fatal(n)
				}
			}
		})
	}
}

// Encoding alone, without the disk.
func BenchmarkSave(b *testing.B) {
	var list []any
	for c, err := range manyFlags(100_000) {
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, c.Put)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := writeState(io.Discard, testKey, header{Epoch: epoch, Seq: 1}, things(list...)); err != nil {
			b.Fatal(err)
		}
	}
}

// What the encoding of the hot kinds is measured against.
func BenchmarkDecodeFlag(b *testing.B) {
	var f *tiergate.Flag
	for c, err := range manyFlags(1) {
		if err != nil {
			b.Fatal(err)
		}
		f = c.Put.(*tiergate.Flag)
	}
	record, err := appendRecord(nil, f)
	if err != nil {
		b.Fatal(err)
	}
	text, err := json.Marshal(f)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("record", func(b *testing.B) {
		b.ReportAllocs()
		for d := newDecoder(); b.Loop(); {
			if _, err := d.thing(record); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("JSON", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := json.Unmarshal(text, &tiergate.Flag{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
