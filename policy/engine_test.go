package policy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/policy"
)

func compileAccess(t testing.TB, settings policy.Settings, body string) *policy.Engine {
	t.Helper()
	if settings.Deadline == 0 {
		settings.Deadline = time.Second // whatever else the machine does
	}
	e, err := settings.Compile(map[string]string{"access.rego": "package tiergate.access\n\n" + body}, demoDefinitions())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func attributesOf(t testing.TB, text string) tiergate.Value {
	t.Helper()
	v, err := jsonvalue.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// An error is an answer to nobody else: it is found anew each time.
func TestEngine_errors_are_not_remembered(t *testing.T) {
	e := compileAccess(t, policy.Settings{}, `decision := {"allow": true, "reason": "a"} if input.attributes.a
decision := {"allow": true, "reason": "b"} if input.attributes.b`)
	both := &policy.Input{Feature: everyone, Attributes: attributesOf(t, `{"a": true, "b": true}`)}
	for range 3 {
		if _, err := e.Access(both); err == nil {
			t.Error("a conflict is answered")
		}
	}
	if s := e.Stats(); s.CacheItems != 1 || s.Misses != 3 { // the tier is known
		t.Errorf("Stats = %+v", s)
	}
}

// What is too large for a key, and what reads the whole input, is answered and not
// remembered.
func TestEngine_not_remembered(t *testing.T) {
	large := fmt.Sprintf(`{"a": [%s0]}`, strings.Repeat("1234567890,", 200))
	for body, attributes := range map[string]string{
		`decision := {"allow": count(input.attributes.a) > 1, "reason": ""}`:     large,
		`decision := {"allow": count(input) > 1, "reason": ""}`:                  `{}`,
		`decision := {"allow": true, "reason": input[k].name} if k := "feature"`: `{}`,
	} {
		e := compileAccess(t, policy.Settings{}, body)
		in := &policy.Input{Feature: everyone, Attributes: attributesOf(t, attributes)}
		for range 2 {
			if got, err := e.Access(in); err != nil || !got.Allow {
				t.Errorf("%s: Access = %+v, %v", body, got, err)
			}
		}
		if s := e.Stats(); s.CacheItems != 1 || s.Misses != 2 { // the tier is known
			t.Errorf("%s: Stats = %+v", body, s)
		}
	}
}

// However many different questions there are, the cache stays within its bytes.
func TestEngine_cache_is_bounded(t *testing.T) {
	const size = 64 << 10
	e := compileAccess(t, policy.Settings{CacheBytes: size}, `decision := {"allow": true, "reason": input.attributes.a}`)
	for i := range 3000 {
		in := &policy.Input{Feature: everyone, Attributes: attributesOf(t, fmt.Sprintf(`{"a": "%d%s"}`, i, strings.Repeat("x", i%300)))}
		if got, err := e.Access(in); err != nil || !strings.HasPrefix(got.Reason, fmt.Sprint(i)) {
			t.Fatalf("Access %d = %+v, %v", i, got, err)
		}
	}
	if s := e.Stats(); s.CacheBytes > size || s.CacheItems < 30 {
		t.Errorf("Stats = %+v", s)
	}
}

// Other definitions make another generation: nothing of the old one's cache shows in it.
func TestEngine_WithDefinitions(t *testing.T) {
	e := compileDemo(t)
	in := &policy.Input{Feature: reports, Subject: carol}
	if got, err := e.Access(in); err != nil || got.Upgrade != "enterprise" {
		t.Fatalf("Access = %+v, %v", got, err)
	}
	defs := demoDefinitions()
	defs.Tiers = defs.Tiers[:2]
	next, err := e.WithDefinitions(defs)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := next.Access(in); err != nil || got.Upgrade != "" || got.Allow {
		t.Errorf("Access = %+v, %v", got, err)
	}
	defs.Config = json.RawMessage(`"` + strings.Repeat("x", 300<<10) + `"`)
	if _, err := e.WithDefinitions(defs); tiergate.CodeOf(err) != tiergate.Invalid {
		t.Errorf("definitions that are too large: %v", err)
	}
}

// The engine knows whether caller or time can change an answer.
func TestEngine_dependence(t *testing.T) {
	for _, c := range []struct {
		body    string // "" is the built-in policy
		feature *policy.Feature
		matters bool
		step    tiergate.ClockStep
	}{
		{"", everyone, false, tiergate.StepNever},
		{"", reports, true, tiergate.StepNever},
		{`decision := {"allow": input.clock.hour > 8, "reason": ""}`, everyone, true, tiergate.StepHour},
		{`decision := {"allow": input.clock.weekday > 0, "reason": ""}`, everyone, true, tiergate.StepDay},
		{`decision := {"allow": count(input.clock) > 0, "reason": ""}`, everyone, true, tiergate.StepHour},
		{`decision := {"allow": count(input) > 0, "reason": ""}`, everyone, true, tiergate.StepHour},
		{`decision := {"allow": input.attributes.a == 1, "reason": ""}`, everyone, true, tiergate.StepNever},
	} {
		e := compileDemo(t)
		if c.body != "" {
			e = compileAccess(t, policy.Settings{}, c.body)
		}
		if got := e.CallerMatters(c.feature); got != c.matters {
			t.Errorf("%q: CallerMatters(%s) = %t", c.body, c.feature.Name(), got)
		}
		if got := e.ClockStep(); got != c.step {
			t.Errorf("%q: ClockStep = %d, want %d", c.body, got, c.step)
		}
	}
	own := map[string]string{
		"a.rego": "package tiergate.access\n\ndecision := {\"allow\": input.feature.enabled, \"reason\": \"\"}",
		"b.rego": "package tiergate.subject\n\ntier := \"free\"",
	}
	e, err := policy.Compile(own, demoDefinitions())
	if err != nil || e.CallerMatters(reports) {
		t.Errorf("a policy that reads only the feature: %v", err)
	}
}

// Any number of callers may ask at once.
func TestEngine_Access_concurrently(t *testing.T) {
	e := compileAccess(t, policy.Settings{CacheBytes: 32 << 10, Deadline: time.Second}, `decision := {"allow": true, "reason": input.attributes.a}`)
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			var p jsonvalue.Parser
			for i := range 500 {
				want := fmt.Sprint((i * (g + 1)) % 300)
				v, err := p.Parse([]byte(`{"a": "` + want + `"}`))
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := e.Access(&policy.Input{Feature: everyone, Attributes: v}); err != nil || got.Reason != want {
					t.Errorf("Access = %+v, %v, want %s", got, err, want)
					return
				}
			}
		})
	}
	group.Wait()
}

// Who may do what in the admin API, by the built-in policy.
func TestEngine_AllowAdmin(t *testing.T) {
	e := compileDemo(t)
	for _, c := range []struct {
		role   tiergate.PlatformRole
		action string
		want   bool
	}{
		{tiergate.PlatformAdmin, "policies.publish", true},
		{tiergate.PlatformEditor, "flags.write", true},
		{tiergate.PlatformEditor, "policies.publish", false},
		{tiergate.PlatformViewer, "flags.read", true},
		{tiergate.PlatformViewer, "flags.write", false},
		{"", "flags.read", false},
	} {
		got, err := e.AllowAdmin(t.Context(), policy.AdminInput{Caller: tiergate.Caller{ID: "x", Role: c.role}, Action: c.action})
		if err != nil || got != c.want {
			t.Errorf("AllowAdmin(%q, %s) = %t, %v", c.role, c.action, got, err)
		}
	}
}

// Two lists of values have one key only when they are written alike.
func TestKey_is_injective(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		draw := func() (keys []byte, text string) {
			for range rapid.IntRange(1, 3).Draw(rt, "n") {
				raw := drawKeyValue(rt, 2)
				v, err := jsonvalue.Parse([]byte(raw))
				if err != nil {
					rt.Fatal(err)
				}
				keys, _ = policy.AppendValue(keys, v)
				text += raw + ";"
			}
			return keys, text
		}
		a, aText := draw()
		b, bText := draw()
		if (string(a) == string(b)) != (aText == bText) {
			rt.Fatalf("%q and %q have the keys %q and %q", aText, bText, a, b)
		}
	})
}

// drawKeyValue draws JSON of small texts that look like tags and lengths.
func drawKeyValue(rt *rapid.T, depth int) string {
	text := func() string {
		b, err := json.Marshal(rapid.StringOfN(rapid.SampledFrom([]rune{0, 1, 4, 5, 6, 'a'}), 0, 3, -1).Draw(rt, "text"))
		if err != nil {
			rt.Fatal(err)
		}
		return string(b)
	}
	n := rapid.IntRange(0, 5).Draw(rt, "kind")
	if depth == 0 && n > 3 {
		n = 3
	}
	switch n {
	case 0:
		return "null"
	case 1:
		return rapid.SampledFrom([]string{"0", "1", "5", "1.0", "15", "1e0"}).Draw(rt, "number")
	case 4:
		return "[" + drawKeyValue(rt, depth-1) + "," + drawKeyValue(rt, depth-1) + "]"
	case 5:
		return `{` + text() + `:` + drawKeyValue(rt, depth-1) + `}`
	}
	return text()
}
