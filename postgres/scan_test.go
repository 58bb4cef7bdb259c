package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/migrations"
)

func anyJSON() *rapid.Generator[any] {
	return rapid.OneOf(
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.String().AsAny(),
		rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64).AsAny(),
		rapid.SliceOfN(rapid.String(), 0, 3).AsAny(),
		rapid.MapOfN(rapid.String(), rapid.SliceOfN(rapid.Int(), 0, 3), 0, 3).AsAny(),
	)
}

// Walking an object finds the members that encoding/json finds.
func TestEachMember_agrees_with_encoding_json(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.MapOfN(rapid.String(), anyJSON(), 0, 6).Draw(t, "object")
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "indented") {
			text, _ = json.MarshalIndent(want, " ", "\t")
		}
		var plain map[string]any
		if err := json.Unmarshal(text, &plain); err != nil {
			t.Fatal(err)
		}
		got := map[string]any{}
		var d decoder
		err = eachMember(text, func(name, value []byte) error {
			var v any
			key, err := d.sharedName(name)
			if err != nil {
				return err
			}
			err = json.Unmarshal(value, &v)
			got[key] = v
			return err
		})
		if diff := cmp.Diff(plain, got); diff != "" || err != nil {
			t.Fatalf("%s: %v\n%s", text, err, diff)
		}
	})
}

// Rules are read as tiergate.Rules reads them.
func TestDecoder_rules_agree_with_encoding_json(t *testing.T) {
	for _, text := range []string{
		`{}`, `{"tiers": [], "percentage": 0}`, `{"percentage": 12.345, "tiers": ["a", "b\n"]}`, `{"targeting": null}`,
		`{"targeting": {}}`, `{"targeting": {"if": [true, "on"]}, "other": [1]}`,
	} {
		var want tiergate.Rules
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		got, err := new(decoder).rules([]byte(text))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
}

// What the server is and holds is judged in one sentence.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		err  error
		want error
		text string
	}{
		{judgeServer(140012, "14.12", "UTF8"), ErrTooOld, "PostgreSQL 14.12 is too old: tiergate needs 15 or later"},
		{judgeSchema(0, `"x" at h:1`), ErrNotMigrated, `the database "x" at h:1 is not migrated; run tiergate migrate`},
		{judgeSchema(1, `"x" at h:1`), ErrNotMigrated, fmt.Sprintf(`the database "x" at h:1 has schema 1 and this tiergate needs %d; run tiergate migrate`, migrations.Version)},
		{judgeSchema(99, `"x" at h:1`), ErrTooNew, fmt.Sprintf(`the database "x" at h:1 has schema 99 and this tiergate knows %d; use a newer tiergate`, migrations.Version)},
	} {
		if !errors.Is(c.err, c.want) || c.err.Error() != c.text {
			t.Errorf("got %q, want %q", c.err, c.text)
		}
	}
	if err := judgeServer(180001, "18.1", "SQL_ASCII"); tiergate.CodeOf(err) != tiergate.Conflict {
		t.Errorf("another encoding: %v", err)
	}
	if err := judgeServer(150000, "15.0", "UTF8"); err != nil {
		t.Error(err)
	}
}

// No image makes the decoder panic, and what it takes it takes the same again.
func FuzzDecoder(f *testing.F) {
	kinds := []tiergate.Kind{
		tiergate.KindFlagSet, tiergate.KindFlag, tiergate.KindTier, tiergate.KindLimit, tiergate.KindTeam, tiergate.KindUser,
		tiergate.KindMember, tiergate.KindKey, tiergate.KindOverride, tiergate.KindGrant, tiergate.KindPolicy,
	}
	f.Fuzz(func(t *testing.T, image []byte) {
		for _, kind := range kinds {
			first, err1 := new(decoder).decode(kind, image)
			second, err2 := new(decoder).decode(kind, image)
			if (err1 == nil) != (err2 == nil) || !cmp.Equal(first, second, cmp.Comparer(func(a, b float64) bool { return a == b || a != a && b != b })) {
				t.Errorf("%s: %v (%v), then %v (%v)", kind, first, err1, second, err2)
			}
		}
	})
}

// No text makes ParseResume panic, and what it takes it writes back as it was.
func FuzzParseResume(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		r, err := tiergate.ParseResume(text)
		if err != nil {
			if tiergate.CodeOf(err) != tiergate.Invalid {
				t.Errorf("ParseResume(%q): %v, want invalid", text, err)
			}
			return
		}
		if r.String() != text || r.Rev < 0 || r.Schema < 0 {
			t.Errorf("ParseResume(%q) = %+v", text, r)
		}
		_ = r.Revision()
	})
}

// What the decoder takes for the image of a flag.
func BenchmarkDecode_flag(b *testing.B) {
	image := []byte(`{"id" : "f1", "set" : "default", "name" : "flag-1", "title" : "", "description" : "", "type" : "boolean", "enabled" : true, "variants" : {"on": true, "off": false}, "defaultVariant" : "on", "offVariant" : "off", "rules" : {"tiers": ["pro"], "targeting": {"if": [{"==": [{"var": "country"}, "de"]}, "on", "off"]}, "percentage": 50}, "metadata" : {"owner": "ada"}, "version" : 1, "createdAt" : "2026-11-24T12:00:00.123456+00:00", "updatedAt" : "2026-11-24T12:00:00.123456+00:00"}`)
	var d decoder
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.decode(tiergate.KindFlag, image); err != nil {
			b.Fatal(err)
		}
	}
}
