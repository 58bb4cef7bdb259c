package quota

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
)

// drawTake draws a use and what it takes.
func drawTake(t *rapid.T) (*Take, []spent) {
	text := rapid.StringN(0, 8, 200)
	u := &Take{TeamID: text.Draw(t, "team"), UserID: text.Draw(t, "user"), Feature: text.Draw(t, "feature"), Units: rapid.Int64Range(0, tiergate.MaxAmount).Draw(t, "units")}
	if rapid.Bool().Draw(t, "keyed") {
		u.Key = &tiergate.UsageKey{Scope: text.Draw(t, "scope"), Key: text.Draw(t, "key"), Fingerprint: text.Draw(t, "fingerprint")}
	}
	if rapid.Bool().Draw(t, "told") {
		u.Metadata = []byte(`{"a":"` + rapid.StringMatching(`[a-z]{0,300}`).Draw(t, "metadata") + `"}`)
	}
	var spends []spent
	for range rapid.IntRange(0, maxSpends).Draw(t, "spends") {
		spends = append(spends, spent{
			bucket: tiergate.Bucket{Limit: text.Draw(t, "limit"), Scope: "team", Subject: text.Draw(t, "subject"), Period: text.Draw(t, "period")},
			holder: text.Draw(t, "holder"), units: rapid.Int64Range(0, tiergate.MaxAmount).Draw(t, "spent"),
		})
	}
	return u, spends
}

// A record says what was put into it, to the nanosecond and the unit.
func TestRecord_says_what_was_put_into_it(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u, spends := drawTake(t)
		at := time.Unix(0, rapid.Int64Range(0, 1<<62).Draw(t, "at")).UTC()
		var f folder
		if err := f.add([16]byte{7}, appendUse(nil, u, at, spends)); err != nil {
			t.Fatal(err)
		}
		want := tiergate.Usage{
			ID: uuidText([16]byte{7}), At: at, TeamID: u.TeamID, UserID: u.UserID, Feature: u.Feature, Units: u.Units, Events: 1,
			Metadata: u.Metadata, Key: u.Key,
		}
		for _, s := range spends {
			want.Spends = append(want.Spends, tiergate.Spend{Bucket: s.bucket, Holder: s.holder, Units: s.units})
		}
		if diff := cmp.Diff([]tiergate.Usage{want}, f.usage); diff != "" {
			t.Errorf("the record says (-want +got):\n%s", diff)
		}
	})
}

// Uses of one hour, subject and feature become one, and no unit is lost in it. What has a key
// or metadata stands alone.
func TestFolder_keeps_every_unit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f folder
		var units, spentUnits, events, alone int64
		for range rapid.IntRange(0, 60).Draw(t, "uses") {
			u := &Take{
				TeamID: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "team"), Feature: rapid.SampledFrom([]string{"f", "g"}).Draw(t, "feature"),
				Units: rapid.Int64Range(0, 5).Draw(t, "units"),
			}
			if rapid.IntRange(0, 5).Draw(t, "keyed") == 0 {
				u.Key = &tiergate.UsageKey{Key: "k"}
				alone++
			}
			s := []spent{{bucket: tiergate.Bucket{Limit: "l", Subject: u.TeamID}, holder: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "holder"), units: u.Units}}
			at := time.Unix(0, rapid.Int64Range(0, int64(3*time.Hour)).Draw(t, "at"))
			if err := f.add([16]byte{}, appendUse(nil, u, at, s)); err != nil {
				t.Fatal(err)
			}
			units += u.Units
			spentUnits += u.Units
			events++
		}
		keyed := int64(0)
		for _, u := range f.usage {
			units -= u.Units
			events -= u.Events
			for _, s := range u.Spends {
				spentUnits -= s.Units
			}
			if u.Key != nil {
				keyed++
			}
		}
		if units != 0 || spentUnits != 0 || events != 0 || keyed != alone {
			t.Errorf("%d units, %d spent units and %d events are missing; %d of %d keys", units, spentUnits, events, keyed, alone)
		}
		if most := int64(3*2*2*2) + alone; int64(len(f.usage)) > most {
			t.Errorf("%d lines are left of uses of at most %d kinds", len(f.usage), most)
		}
	})
}

// Whatever is on the disk, reading it never fails in another way than by saying so, and never
// makes a unit negative.
func FuzzRecord(f *testing.F) {
	f.Add(appendUse(nil, take(Claim{}), time.Unix(1, 2), []spent{{bucket: tiergate.Bucket{Limit: "l"}, holder: "h", units: 3}}))
	f.Add(appendDenial(nil, &tiergate.Denial{Feature: "f", Reason: tiergate.UseExhausted, Count: 4}))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var f folder
		if err := f.add([16]byte{}, payload); err != nil {
			if len(f.usage)+len(f.denials) > 0 {
				t.Error("what does not read is counted")
			}
			return
		}
		for _, u := range f.usage {
			if u.Units < 0 || len(u.Spends) > maxSpends {
				t.Errorf("%+v", u)
			}
		}
		for _, d := range f.denials {
			if d.Count < 0 {
				t.Errorf("%+v", d)
			}
		}
	})
}

func BenchmarkFolder(b *testing.B) {
	record := appendUse(nil, take(Claim{}), time.Unix(1, 2), []spent{{bucket: tiergate.Bucket{Limit: "exports", Scope: "team", Subject: "acme", Period: "2026-11"}, holder: uuidText([16]byte{}), units: 3}})
	b.ReportAllocs()
	var f folder
	for b.Loop() {
		if err := f.add([16]byte{}, record); err != nil {
			b.Fatal(err)
		}
	}
}
