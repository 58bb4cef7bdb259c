package evaluator_test

import (
	"testing"

	"github.com/tiergate/tiergate"
)

// requests are the kinds of decision that promise not to allocate.
func requests(tb testing.TB) map[string]*tiergate.Request {
	attributes := value(tb, `{"targetingKey":"bob","plan":"gold","age":33,"country":"CH"}`)
	ask := func(flag, user string) *tiergate.Request {
		return &tiergate.Request{Flag: flag, UserID: user, Attributes: attributes, Now: now}
	}
	return map[string]*tiergate.Request{
		"static":     ask("new-dashboard", "bob"),
		"tier_gated": ask("api-access", "bob"),
		"denied":     ask("white-label", "bob"),
		"percentage": ask("beta-search", "bob"),
		"fractional": ask("checkout-button", "bob"),
		"targeted":   ask("targeted", "bob"),
		"by_team":    {Flag: "api-access", TeamID: "globex", Attributes: attributes, Now: now},
		"unknown":    ask("api-access", "mallory"),
		"disabled":   ask("legacy-export", "bob"),
		"not_found":  ask("no-such-flag", "bob"),
	}
}

// targeted is a flag that looks at attributes and then splits.
func targeted() tiergate.Change {
	return boolean("targeted", func(f *tiergate.Flag) {
		f.Rules.Targeting = raw(`{"if":[
			{"and":[{"in":[{"var":"country"},["CH","DE","AT"]]},{">=":[{"var":"age"},18]}]},
			{"fractional":[["on",25],["off",75]]}, "off"]}`)
	})
}

// No kind of decision allocates, however often it is made.
func TestGeneration_Decide_does_not_allocate(t *testing.T) {
	g := demo(t, targeted()).Generation()
	for name, req := range requests(t) {
		t.Run(name, func(t *testing.T) {
			var d tiergate.Decision
			if n := testing.AllocsPerRun(200, func() { d = g.Decide(req) }); n != 0 {
				t.Errorf("Decide allocates %v times for %+v", n, d)
			}
		})
	}
}

// All allocates nothing per flag: the iterator itself is all.
func TestGeneration_All_does_not_allocate_per_flag(t *testing.T) {
	g := demo(t, targeted()).Generation()
	req := requests(t)["targeted"]
	flags := 0
	n := testing.AllocsPerRun(200, func() {
		flags = 0
		for range g.All(req) {
			flags++
		}
	})
	if n > 5 || flags != 11 {
		t.Errorf("All allocates %v times for %d flags", n, flags)
	}
}

// A plain Go map and an if: what a decision cannot be faster than.
func BenchmarkDecide_floor(b *testing.B) {
	flags := map[string]map[string]bool{"api-access": {"pro": true, "enterprise": true}}
	users := map[string]string{"bob": "pro"}
	b.ReportAllocs()
	for b.Loop() {
		if !flags["api-access"][users["bob"]] {
			b.Fatal("wrong")
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	g := demo(b, targeted()).Generation()
	for name, req := range requests(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d := g.Decide(req); d.Flag == "" {
					b.Fatal("wrong")
				}
			}
		})
	}
}

// 100 flags at once: 70 static, 20 for tiers, 10 fractional.
func BenchmarkDecide_all(b *testing.B) {
	var flags []tiergate.Change
	for i := range 100 {
		flags = append(flags, boolean(name("flag", i), func(f *tiergate.Flag) {
			switch {
			case i >= 90:
				f.Rules.Targeting = raw(`{"fractional":[["on",50],["off",50]]}`)
			case i >= 70:
				f.Set, f.Rules.Tiers = "bulk", []string{"pro"}
			}
			f.Set = "bulk"
		}))
	}
	g := demo(b, flags...).Generation()
	req := *requests(b)["static"]
	req.Set = "bulk"
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for d := range g.All(&req) {
			if d.Value != nil {
				n++
			}
		}
		if n != 100 {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/flag")
}
