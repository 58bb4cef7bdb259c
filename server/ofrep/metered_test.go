package ofrep_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/server/ofrep"
)

// gate is a tiergate.Gate that answers a check by function.
type gate struct {
	tiergate.Gate
	check func(*tiergate.Use) (tiergate.Verdict, error)
}

func (g gate) Check(_ context.Context, u *tiergate.Use) (tiergate.Verdict, error) { return g.check(u) }

// leaves is a gate on which the limits of a check are these.
func leaves(e *evaluator.Engine, limits ...tiergate.LimitState) gate {
	return gate{check: func(u *tiergate.Use) (tiergate.Verdict, error) {
		u.Room.Limits = append(u.Room.Limits[:0], limits...)
		return tiergate.Verdict{Allow: true, Limits: u.Room.Limits, Resume: e.Generation().Resume()}, nil
	}}
}

type meteredAnswer struct {
	Reason   string
	Metadata map[string]any
}

func metadataOf(t *testing.T, addr, flag, context string) meteredAnswer {
	t.Helper()
	var a meteredAnswer
	got := exchange(t, addr, post(flags+"/"+flag, `{"context":`+context+`}`), 1)[0]
	if err := json.Unmarshal([]byte(got.body), &a); err != nil {
		t.Fatalf("%s: %v", got.body, err)
	}
	delete(a.Metadata, "revision")
	return a
}

var (
	at      = time.Date(2026, time.March, 4, 5, 6, 7, 8, time.UTC)
	monthly = tiergate.LimitState{
		Key: "model-training-monthly", Kind: tiergate.Quota, Period: "month", Amount: 5, Min: 3, Max: 4, AsOf: at, ResetsIn: 72 * time.Hour,
	}
	slots = tiergate.LimitState{Key: "model-training-at-once", Kind: tiergate.Concurrency, Amount: 1, Min: 1, Max: 1, AsOf: at, ResetsIn: -1}
)

// An answer about one metered flag says what surely is left of its quota and until when; what
// cannot be told is left out, and the value is as ever.
func TestSingle_tells_what_is_left(t *testing.T) {
	e := engine(t)
	bob := `{"targetingKey":"bob"}`
	unknown := monthly
	unknown.Min, unknown.AsOf = 0, time.Time{}
	told := map[string]any{"tier": "pro", "limit": 5.0, "limitKey": "model-training-monthly", "period": "month", "remaining": 3.0, "resetsAt": "2026-03-07T05:06:07Z"}
	for name, tc := range map[string]struct {
		gate tiergate.Gate
		flag string
		who  string
		want map[string]any
	}{
		"a quota behind slots": {leaves(e, slots, monthly), "model-training", bob, told},
		"slots alone":          {leaves(e, slots), "model-training", bob, map[string]any{"tier": "pro", "limit": 1.0, "limitKey": "model-training-at-once", "remaining": 1.0}},
		"a quota of which nothing is known here": {
			leaves(e, unknown), "model-training", bob,
			map[string]any{"tier": "pro", "limit": 5.0, "limitKey": "model-training-monthly", "period": "month", "resetsAt": "2026-03-07T05:06:07Z"},
		},
		"nothing that applies": {leaves(e), "model-training", bob, map[string]any{"tier": "pro"}},
		"no gate":              {nil, "model-training", bob, map[string]any{"tier": "pro"}},
		"an error": {gate{check: func(*tiergate.Use) (tiergate.Verdict, error) {
			return tiergate.Verdict{Limits: []tiergate.LimitState{monthly}}, tiergate.Errorf(tiergate.Unavailable, "away")
		}}, "model-training", bob, map[string]any{"tier": "pro"}},
		"another revision": {gate{check: func(*tiergate.Use) (tiergate.Verdict, error) {
			return tiergate.Verdict{Limits: []tiergate.LimitState{monthly}}, nil
		}}, "model-training", bob, map[string]any{"tier": "pro"}},
		"a flag without limits": {leaves(e, monthly), "api-access", bob, map[string]any{"tier": "pro"}},
		"a denied flag":         {leaves(e, monthly), "model-training", `{"targetingKey":"ivan"}`, map[string]any{"tier": "free", "denied": true, "denyReason": "tier", "upgrade": "pro"}},
	} {
		addr := serve(t, appOf(ofrep.Config{Evaluator: e, Gate: tc.gate, Now: func() time.Time { return at }}))
		for range 2 {
			got := metadataOf(t, addr, tc.flag, tc.who)
			if diff := cmp.Diff(tc.want, got.Metadata); diff != "" || got.Reason != "TARGETING_MATCH" {
				t.Errorf("%s: reason %s (-want +got):\n%s", name, got.Reason, diff)
			}
		}
	}
}

// A check asks about the same flag and subject at the same time as the decision, and has no cost.
func TestSingle_checks_as_it_decides(t *testing.T) {
	e := engine(t)
	var asked []tiergate.Use
	g := gate{check: func(u *tiergate.Use) (tiergate.Verdict, error) {
		own := *u
		own.Flag, own.UserID, own.TeamID, own.Set = strings.Clone(u.Flag), strings.Clone(u.UserID), strings.Clone(u.TeamID), strings.Clone(u.Set)
		if u.Attributes.Field("plan").Text() != "gold" {
			t.Errorf("the attributes are %v", u.Attributes)
		}
		own.Room, own.Attributes = nil, tiergate.Value{}
		asked = append(asked, own)
		return tiergate.Verdict{}, nil
	}}
	addr := serve(t, appOf(ofrep.Config{Evaluator: e, Gate: g, Now: func() time.Time { return at }}))
	metadataOf(t, addr, "model-training", `{"targetingKey":"bob","teamId":"globex","plan":"gold"}`)
	metadataOf(t, addr, "new-dashboard", `{"targetingKey":"bob"}`)
	want := []tiergate.Use{{Request: tiergate.Request{Set: "default", Flag: "model-training", UserID: "bob", TeamID: "globex", Now: at}}}
	if diff := cmp.Diff(want, asked, cmp.AllowUnexported(tiergate.Value{})); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// An answer about all flags tells of the limit and not of what is left, asks no gate, and is
// the same until a revision changes the limit.
func TestBulk_tells_of_limits(t *testing.T) {
	e := engine(t)
	g := gate{check: func(*tiergate.Use) (tiergate.Verdict, error) {
		t.Error("a bulk answer asks what is left")
		return tiergate.Verdict{}, nil
	}}
	addr := serve(t, appOf(ofrep.Config{Evaluator: e, Gate: g}))
	bulk := func(tag string) (answer, map[string]map[string]any) {
		a := exchange(t, addr, post(flags, `{"context":{"targetingKey":"bob"}}`, "If-None-Match: "+tag), 1)[0]
		var body struct {
			Flags []struct {
				Key      string
				Metadata map[string]any
			}
		}
		if a.status == 200 {
			if err := json.Unmarshal([]byte(a.body), &body); err != nil {
				t.Fatal(err)
			}
		}
		all := map[string]map[string]any{}
		for _, f := range body.Flags {
			all[f.Key] = f.Metadata
		}
		return a, all
	}
	first, all := bulk(`"none"`)
	want := map[string]any{"tier": "pro", "limit": 5.0, "limitKey": "model-training-monthly", "period": "month"}
	if diff := cmp.Diff(want, all["model-training"]); diff != "" || all["api-access"]["limit"] != nil {
		t.Errorf("(-want +got):\n%s", diff)
	}
	tag := first.header.Get("ETag")
	if again, _ := bulk(tag); again.status != 304 || tag == "" {
		t.Errorf("asked again with %s: status %d", tag, again.status)
	}
	more := tiergate.Revision{Resume: tiergate.Resume{Epoch: "0123456789abcdef", Rev: 8}, Changes: tiergate.ChangesOf(
		tiergate.PutOf(&tiergate.Grant{ID: "g", TeamID: "globex", LimitKey: "model-training-monthly", Amount: 2}))}
	if err := e.Apply(t.Context(), more); err != nil {
		t.Fatal(err)
	}
	if next, all := bulk(tag); next.status != 200 || all["model-training"]["limit"] != 7.0 {
		t.Errorf("after a grant: status %d, %v", next.status, all["model-training"])
	}
}

// A metered flag's own metadata gives way to what we say of its limit; other flags keep theirs.
func TestMetadata_of_metered_flags_gives_way(t *testing.T) {
	own := map[string]any{"limit": "mine", "period": "mine", "owner": "web"}
	var more []tiergate.Change
	for _, c := range engineFlags(t, "model-training", "api-access") {
		f := *c
		f.Metadata = own
		more = append(more, tiergate.PutOf(&f))
	}
	e := engine(t, more...)
	addr := serve(t, appOf(ofrep.Config{Evaluator: e, Gate: leaves(e, slots)}))
	got := metadataOf(t, addr, "model-training", `{"targetingKey":"bob"}`).Metadata
	if got["limit"] != 1.0 || got["period"] != nil || got["owner"] != "web" {
		t.Errorf("a metered flag's metadata is %v", got)
	}
	if got := metadataOf(t, addr, "api-access", `{"targetingKey":"bob"}`).Metadata; got["limit"] != "mine" || got["period"] != "mine" {
		t.Errorf("another flag's metadata is %v", got)
	}
}

// engineFlags are flags of the demo data.
func engineFlags(t *testing.T, names ...string) (out []*tiergate.Flag) {
	t.Helper()
	for _, name := range names {
		out = append(out, engine(t).Current().View().Flag("default", name))
	}
	return out
}
