package evaluator_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
)

// A held is what a source holds, in the plainest way: the last good thing of each name, and
// the names whose newest change cannot be applied.
type held struct {
	good map[string]tiergate.Change
	bad  map[string]bool
}

func (h held) take(changes []genned) held {
	h = held{maps.Clone(h.good), maps.Clone(h.bad)}
	for _, c := range changes {
		name := string(c.Kind) + " " + c.Key
		delete(h.bad, name)
		switch {
		case c.bad:
			h.bad[name] = true
		case c.Put == nil:
			delete(h.good, name)
		default:
			h.good[name] = c.Change
		}
	}
	return h
}

// refused says whether this may not come into force: something of it could not be applied,
// or the newest policy cannot be used.
func (h held) refused() bool {
	var newest *tiergate.PolicyBundle
	for _, c := range h.good {
		if b, ok := c.Put.(*tiergate.PolicyBundle); ok && (newest == nil || b.Version > newest.Version) {
			newest = b
		}
	}
	return len(h.bad) > 0 || newest != nil && strings.Contains(newest.Modules["access.rego"], "{{")
}

func (h held) changes() []tiergate.Change {
	var list []tiergate.Change
	for _, name := range slices.Sorted(maps.Keys(h.good)) {
		list = append(list, h.good[name])
	}
	return list
}

// A genned change may be one that cannot be applied.
type genned struct {
	tiergate.Change
	bad bool
}

func genMixed(t *rapid.T) genned {
	n := rapid.IntRange(1, 2).Draw(t, "n")
	var c genned
	switch rapid.SampledFrom([]string{"user", "team", "policy", "flag", "other"}).Draw(t, "kind") {
	case "user":
		u := &tiergate.User{ID: fmt.Sprint("u", n), Tier: "pro"}
		if c.bad = rapid.Bool().Draw(t, "bad"); c.bad {
			u.Attributes = raw(`["no object"]`)
		}
		c.Change = tiergate.PutOf(u)
	case "team":
		c.Change = tiergate.PutOf(&tiergate.Team{ID: fmt.Sprint("t", n), Tier: "pro"})
		if c.bad = rapid.Bool().Draw(t, "bad"); c.bad {
			c.Put = &tiergate.Tier{Key: "pro"}
		}
	case "policy":
		c.Change = bundle(int64(n), rapid.SampledFrom([]string{denyAll, "", "package tiergate.access\n\ndecision := {{"}).Draw(t, "rego"), nil)
	case "flag":
		c.Change = boolean(fmt.Sprint("f", n), nil)
		if c.bad = rapid.Bool().Draw(t, "bad"); c.bad {
			c.Put = boolean("another", nil).Put
		}
	default:
		c.Change = genChange(t)
	}
	if rapid.IntRange(0, 2).Draw(t, "drop") == 0 {
		c.Put, c.bad = nil, false
	}
	return c
}

// Whatever cannot be applied or used among the revisions, each comes on top of the one
// before: it is refused for as long as something bad stands and in force as a whole once
// nothing does, and meanwhile the last good state serves. No whole state is asked for.
func TestEngine_heals_by_the_next_revision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := newEngine(evaluator.Options{})
		source := held{map[string]tiergate.Change{}, map[string]bool{}}
		for _, c := range conformance.Demo() {
			source.good[string(c.Kind)+" "+c.Key] = c
		}
		if err := e.Apply(t.Context(), whole(1, source.changes()...)); err != nil {
			t.Fatal(err)
		}
		inForce, force := source, resume(1)
		steps := rapid.IntRange(1, 8).Draw(t, "steps")
		for rev := int64(2); rev < int64(steps)+2; rev++ {
			mixed := make([]genned, rapid.IntRange(1, 4).Draw(t, "changes"))
			var changes []tiergate.Change
			for i := range mixed {
				mixed[i] = genMixed(t)
				changes = append(changes, mixed[i].Change)
			}
			r := step(rev, changes...)
			if r.Whole = rapid.IntRange(0, 9).Draw(t, "whole") == 0; r.Whole {
				source = held{map[string]tiergate.Change{}, map[string]bool{}}
			}
			source = source.take(mixed)
			err := e.Apply(t.Context(), r)
			if (err != nil) != source.refused() || tiergate.CodeOf(err) == tiergate.Conflict {
				t.Fatalf("revision %d: %v; refused: %v", rev, err, source.refused())
			}
			if err == nil {
				inForce, force = source, r.Resume
			}
			if got := e.Current().Resume(); got != force {
				t.Fatalf("revision %d: in force is %v, want %v", rev, got, force)
			}
		}
		sameAsWhole(t, e, inForce.changes())
	})
}

// sameAsWhole holds an engine against one that is given everything at once.
func sameAsWhole(t *rapid.T, e *evaluator.Engine, changes []tiergate.Change) {
	fresh := newEngine(evaluator.Options{})
	if err := fresh.Apply(t.Context(), whole(1, changes...)); err != nil {
		t.Fatal(err)
	}
	if fresh.Current().View().Digest() != e.Current().View().Digest() {
		t.Fatal("the state in force is not what the source holds")
	}
	for _, set := range []string{"default", "other"} {
		for _, user := range []string{"alice", "u1", "u2"} {
			req := &tiergate.Request{Set: set, UserID: user, TeamID: "t1", Now: now}
			got, want := slices.Collect(e.Current().All(req)), slices.Collect(fresh.Current().All(req))
			if !slices.EqualFunc(got, want, func(a, b tiergate.Decision) bool {
				return a.Flag == b.Flag && a.Variant == b.Variant && a.Reason == b.Reason && a.Tier == b.Tier && a.Denied == b.Denied && a.ErrorCode == b.ErrorCode
			}) {
				t.Fatalf("set %s, %s: %+v, want %+v", set, user, got, want)
			}
		}
	}
}

// A refusal says what is bad and how much, and the newest change of a bad thing is what counts.
func TestEngine_Apply_names_what_is_bad(t *testing.T) {
	e := demo(t)
	bad := func(id string) tiergate.Change { return tiergate.PutOf(&tiergate.User{ID: id, Attributes: raw(`1`)}) }
	err := e.Apply(t.Context(), step(2, bad("zoe"), bad("yves"), boolean("late", nil)))
	const want = `put revision abcdefgh-2 in force: user "yves": attributes are not a JSON object (and 1 more)`
	if err == nil || err.Error() != want || tiergate.CodeOf(err) != tiergate.Invalid {
		t.Errorf("Apply: %v, want %s", err, want)
	}
	if err := e.Apply(t.Context(), step(3, tiergate.Change{Kind: tiergate.KindUser, Key: "yves"})); err == nil || !strings.Contains(err.Error(), `"zoe"`) {
		t.Errorf("with one of them left: %v", err)
	}
	apply(t, e, step(4, tiergate.PutOf(&tiergate.User{ID: "zoe"})))
	if d := ask(t, e, "late", `{}`); d.ErrorCode != "" {
		t.Errorf("the flag of the refused revision: %+v", d)
	}
}

// Changes that break off say nothing of what they are: the revision is asked for again.
func TestEngine_Apply_takes_a_revision_again_that_broke_off(t *testing.T) {
	e := demo(t)
	r := step(2)
	r.Changes = func(yield func(tiergate.Change, error) bool) {
		_ = yield(boolean("late", nil), nil) && yield(tiergate.Change{}, errors.New("the line broke"))
	}
	if err := e.Apply(t.Context(), r); err == nil || !strings.Contains(err.Error(), "the line broke") {
		t.Errorf("Apply: %v", err)
	}
	apply(t, e, step(2, boolean("late", nil)))
}

// A first state that is bad leaves nothing to serve until the next revision puts it right.
func TestEngine_heals_a_bad_first_state(t *testing.T) {
	e := newEngine(evaluator.Options{})
	bad := tiergate.PutOf(&tiergate.User{ID: "zoe", Attributes: raw(`1`)})
	if err := e.Apply(t.Context(), whole(1, append(conformance.Demo(), bad)...)); tiergate.CodeOf(err) != tiergate.Invalid || e.Current() != nil {
		t.Fatalf("Apply: %v; in force %v", err, e.Current())
	}
	apply(t, e, step(2, tiergate.PutOf(&tiergate.User{ID: "zoe", Tier: "pro"})))
	if d := ask(t, e, "new-dashboard", `{"targetingKey":"zoe"}`); d.ErrorCode != "" || d.Tier != "pro" {
		t.Errorf("zoe's decision is %+v", d)
	}
}
