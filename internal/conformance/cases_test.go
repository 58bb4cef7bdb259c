package conformance_test

import (
	"encoding/binary"
	"math/bits"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/conformance"
)

// The demo data is valid, has each id once, and no story is told twice.
func TestDemo_is_valid(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range conformance.Demo() {
		if id := string(c.Kind) + c.Key; seen[id] {
			t.Errorf("%s %q is put twice", c.Kind, c.Key)
		} else {
			seen[id] = true
		}
		if v, ok := c.Put.(interface{ Validate() error }); ok {
			if err := v.Validate(); err != nil {
				t.Errorf("%s %q: %v", c.Kind, c.Key, err)
			}
		}
	}
	stories := map[string]bool{}
	for _, c := range conformance.Cases() {
		if stories[c.Story] {
			t.Errorf("%q is told twice", c.Story)
		}
		stories[c.Story] = true
	}
	for _, c := range conformance.UseCases() {
		if stories[c.Story] {
			t.Errorf("%q is told twice", c.Story)
		}
		stories[c.Story] = true
		for _, s := range c.Steps {
			if s.Want.Status != tiergate.UseReason(s.Want.Reason).Status() || s.Do != "check" && s.Do != "consume" && s.Do != "track" {
				t.Errorf("%s: step %+v is none", c.Story, s)
			}
		}
	}
}

// The bucket that a story names is the bucket that flagd's fractional gives, computed here
// anew from the definition of MurmurHash3.
func TestCases_name_the_right_buckets(t *testing.T) {
	bucket := regexp.MustCompile(`bucket (\d+)`)
	totals := map[string]uint64{"beta-search": 100_000, "checkout-button": 100}
	checked := 0
	for _, c := range conformance.Cases() {
		m := bucket.FindStringSubmatch(c.Story)
		if m == nil {
			continue
		}
		user, _ := c.Context["targetingKey"].(string)
		got := uint64(murmur3([]byte(c.Flag+user))) * totals[c.Flag] >> 32
		if m[1] != strconv.FormatUint(got, 10) {
			t.Errorf("%s: the bucket is %d", c.Story, got)
		}
		checked++
	}
	if checked < 12 {
		t.Errorf("%d stories name a bucket, want at least 12", checked)
	}
}

// murmur3 is MurmurHash3_x86_32 with seed 0, written from its definition.
func murmur3(data []byte) uint32 {
	h, n := uint32(0), uint32(len(data))
	mix := func(k uint32) uint32 { return bits.RotateLeft32(k*0xcc9e2d51, 15) * 0x1b873593 }
	for ; len(data) >= 4; data = data[4:] {
		h = bits.RotateLeft32(h^mix(binary.LittleEndian.Uint32(data)), 13)*5 + 0xe6546b64
	}
	if len(data) > 0 {
		var tail [4]byte
		copy(tail[:], data)
		h ^= mix(binary.LittleEndian.Uint32(tail[:]))
	}
	h ^= n
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}

// Each demo flag is asked about for each kind of user.
func TestCases_cover_the_table(t *testing.T) {
	asked := map[string]bool{}
	for _, c := range conformance.Cases() {
		user, _ := c.Context["targetingKey"].(string)
		asked[c.Flag+" "+user] = true
	}
	for _, change := range conformance.Demo() {
		if f, ok := change.Put.(*tiergate.Flag); ok {
			for _, user := range []string{"alice", "bob", "ivan", "carol", "mallory"} {
				if !asked[f.Name+" "+user] {
					t.Errorf("no case asks about %s for %s", f.Name, user)
				}
			}
		}
	}
}

// The stories about flag sets are told once each, and their data is valid.
func TestSets_are_valid(t *testing.T) {
	for _, c := range conformance.Sets() {
		if v, ok := c.Put.(interface{ Validate() error }); ok {
			if err := v.Validate(); err != nil {
				t.Errorf("%s %q: %v", c.Kind, c.Key, err)
			}
		}
	}
	stories := map[string]bool{}
	for _, c := range conformance.SetCases() {
		refused := c.Want.Refused != ""
		if stories[c.Story] || c.Named != "" && c.Selector != "" || refused == (c.Want.Variant != "" || c.Want.ErrorCode != "") {
			t.Errorf("%q is told twice, or no case", c.Story)
		}
		stories[c.Story] = true
	}
}

// Each kind of answer is asked for in a story of its own: types, reasons and errors. What a door says
// otherwise has a reason, and each flag is asked about.
func TestKinds_are_valid(t *testing.T) {
	asked := map[string]bool{}
	for _, c := range conformance.KindCases() {
		for _, what := range []string{c.As, c.Want.Reason, c.Want.ErrorCode, c.Flag} {
			asked[what] = true
		}
		if asked[c.Story] || c.As == "" || (c.Want.Reason == "ERROR") != (c.Want.ErrorCode != "") {
			t.Errorf("%q is told twice, or no case", c.Story)
		}
		asked[c.Story] = true
		excepted := map[conformance.Door]bool{}
		for _, e := range c.But {
			if e.Why == "" {
				t.Errorf("%s: there is no reason for %v", c.Story, e.Doors)
			}
			for _, door := range e.Doors {
				if !slices.Contains(conformance.Doors(), door) || excepted[door] {
					t.Errorf("%s: %q is no door, or excepted twice", c.Story, door)
				}
				excepted[door] = true
			}
		}
	}
	want := []string{
		"boolean", "string", "integer", "float", "object", "STATIC", "TARGETING_MATCH", "DEFAULT", "DISABLED", "ERROR",
		"FLAG_NOT_FOUND", "TYPE_MISMATCH", "PARSE_ERROR", "GENERAL", "INVALID_CONTEXT",
	}
	for _, change := range conformance.Kinds() {
		f := change.Put.(*tiergate.Flag)
		if err := f.Validate(); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		want = append(want, f.Name)
	}
	for _, what := range want {
		if !asked[what] {
			t.Errorf("no case has %s", what)
		}
	}
}
