package flagdapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	wirev1 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	wirev2 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v2"
	"github.com/tiergate/tiergate/server/flagdapi"
)

const revision = "01234567-7"

// Values of each type come as they are: text with escapes and without, numbers as both kinds,
// cut off as flagd does, and objects.
func TestResolve_values(t *testing.T) {
	d := open(t, flagdapi.Config{Watcher: engine(t,
		flag("plain", tiergate.String, `"#00f"`, nil),
		flag("escaped", tiergate.String, `"a\"\u00fc\n€"`, nil),
		flag("empty", tiergate.String, `""`, nil),
		flag("ten", tiergate.Number, "10", nil),
		flag("half", tiergate.Number, "-2.5", nil),
		flag("large", tiergate.Number, "9007199254740993", nil),
		flag("huge", tiergate.Number, "1e300", nil),
		flag("object", tiergate.Object, `{"models":["a","b"],"max":3,"deep":{"no":null}}`, nil),
	)})
	for _, version := range []string{"v1", "v2"} {
		for _, tc := range []struct {
			method, flag string
			want         any
		}{
			{"ResolveString", "plain", "#00f"},
			{"ResolveString", "escaped", "a\"ü\n€"},
			{"ResolveString", "empty", ""},
			{"ResolveFloat", "ten", 10.0},
			{"ResolveInt", "ten", "10"}, // JSON has 64 bits as text
			{"ResolveFloat", "half", -2.5},
			{"ResolveInt", "half", "-2"},
			{"ResolveInt", "large", "9007199254740993"},
			{"ResolveInt", "huge", "9223372036854775807"},
			{"ResolveFloat", "huge", 1e300},
			{"ResolveObject", "object", map[string]any{"models": []any{"a", "b"}, "max": 3.0, "deep": map[string]any{"no": nil}}},
		} {
			got, err := call(t.Context(), d.conn, version, tc.method, tc.flag, nil)
			if err != nil {
				t.Errorf("%s of %s over %s: %v", tc.method, tc.flag, version, err)
				continue
			}
			want := map[string]any{"value": tc.want, "variant": "v", "reason": "STATIC", "metadata": map[string]any{"revision": revision, "tier": "free"}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s of %s over %s (-want +got):\n%s", tc.method, tc.flag, version, diff)
			}
		}
	}
}

// Another type than the flag's is INVALID_ARGUMENT, a broken flag DATA_LOSS, an evaluation that
// fails UNKNOWN, and an unknown flag NOT_FOUND, over both versions and over Connect.
func TestResolve_errors(t *testing.T) {
	d := open(t, flagdapi.Config{Watcher: engine(t,
		flag("text", tiergate.String, `"x"`, nil),
		flag("broken", tiergate.Boolean, "true", func(f *tiergate.Flag) { f.Rules.Targeting = json.RawMessage(`{"no-such-operator": []}`) }),
		flag("fails", tiergate.Boolean, "true", func(f *tiergate.Flag) { f.Rules.Targeting = json.RawMessage(`"no such variant"`) }),
	)})
	for _, version := range []string{"v1", "v2"} {
		for _, tc := range []struct {
			method, flag string
			code         codes.Code
			connect      int
			name, says   string
		}{
			{"ResolveBoolean", "text", codes.InvalidArgument, 400, "invalid_argument", "the flag is of type string, not boolean"},
			{"ResolveFloat", "text", codes.InvalidArgument, 400, "invalid_argument", "of type string, not number"},
			{"ResolveObject", "text", codes.InvalidArgument, 400, "invalid_argument", "of type string, not object"},
			{"ResolveString", "new-dashboard", codes.InvalidArgument, 400, "invalid_argument", "of type boolean, not string"},
			{"ResolveBoolean", "nothing", codes.NotFound, 404, "not_found", ""},
			{"ResolveBoolean", "", codes.NotFound, 404, "not_found", ""},
			{"ResolveBoolean", "broken", codes.DataLoss, 500, "data_loss", "no-such-operator"},
			{"ResolveBoolean", "fails", codes.Unknown, 500, "unknown", "no such variant"},
		} {
			_, err := call(t.Context(), d.conn, version, tc.method, tc.flag, nil)
			if status.Code(err) != tc.code || !strings.Contains(status.Convert(err).Message(), tc.says) {
				t.Errorf("%s of %q over %s: %v", tc.method, tc.flag, version, err)
			}
			code, answer := d.post(t, version+".Service/"+tc.method, map[string]any{"flagKey": tc.flag})
			if code != tc.connect || answer["code"] != tc.name {
				t.Errorf("%s of %q over Connect, %s: %d %v", tc.method, tc.flag, version, code, answer)
			}
		}
	}
}

// Where the code default applies version 2 says no value and version 1, which cannot, that
// there is no such flag; a disabled flag is answered by both.
func TestResolve_code_defaults(t *testing.T) {
	e := engine(t,
		flag("code", tiergate.Boolean, "true", func(f *tiergate.Flag) { f.DefaultVariant = "" }),
		flag("off", tiergate.Boolean, "true", func(f *tiergate.Flag) { f.Enabled = false }),
		flag("gated", tiergate.Boolean, "true", func(f *tiergate.Flag) { f.Rules.Tiers, f.OffVariant = []string{"pro"}, "" }),
	)
	d := open(t, flagdapi.Config{Watcher: e})
	for name, reason := range map[string]string{"code": "DEFAULT", "off": "DISABLED", "gated": "DEFAULT"} {
		// also when another type is asked for: there is no value that would be of the wrong one
		for _, method := range []string{"ResolveBoolean", "ResolveString", "ResolveInt", "ResolveFloat", "ResolveObject"} {
			got, err := call(t.Context(), d.conn, "v2", method, name, nil)
			if err != nil || got["reason"] != reason {
				t.Errorf("%s of %s over v2: %v, %v", method, name, got, err)
			}
			for _, member := range []string{"value", "variant"} {
				if v, there := got[member]; there {
					t.Errorf("%s of %s over v2 has a %s: %v", method, name, member, v)
				}
			}
			got, err = call(t.Context(), d.conn, "v1", method, name, nil)
			switch {
			case name != "off" && status.Code(err) != codes.NotFound:
				t.Errorf("%s of %s over v1: %v, %v", method, name, got, err)
			case name == "off" && (err != nil || got["reason"] != "DISABLED" || got["variant"] != ""):
				t.Errorf("%s of %s over v1: %v, %v", method, name, got, err)
			}
		}
		if _, answer := d.post(t, "v2.Service/ResolveBoolean", map[string]any{"flagKey": name}); answer["value"] != nil || answer["reason"] != reason {
			t.Errorf("%s over Connect: %v", name, answer)
		}
	}
}

// A context is read within the bounds of OFREP's, and says who asks in the same words.
func TestResolve_contexts(t *testing.T) {
	d := open(t, flagdapi.Config{Watcher: engine(t)})
	many := map[string]any{}
	for i := range 4097 {
		many[fmt.Sprint("member", i)] = true
	}
	deep := &structpb.Struct{}
	for range 100 {
		deep = &structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewStructValue(deep)}}
	}
	for what, tc := range map[string]struct {
		context *structpb.Struct
		code    codes.Code
		tier    string
	}{
		"none":                       {nil, codes.OK, "free"},
		"empty":                      {&structpb.Struct{}, codes.OK, "free"},
		"a user":                     {contextOf(t, map[string]any{"targetingKey": "alice"}), codes.OK, "enterprise"},
		"a team":                     {contextOf(t, map[string]any{"teamId": "globex"}), codes.OK, "pro"},
		"null names nobody":          {contextOf(t, map[string]any{"targetingKey": nil, "teamId": nil}), codes.OK, "free"},
		"a number for a user":        {contextOf(t, map[string]any{"targetingKey": 7}), codes.InvalidArgument, ""},
		"an object for a team":       {contextOf(t, map[string]any{"teamId": map[string]any{}}), codes.InvalidArgument, ""},
		"the tier is not believed":   {contextOf(t, map[string]any{"tier": "enterprise"}), codes.OK, "free"},
		"too many members":           {contextOf(t, many), codes.InvalidArgument, ""},
		"too deep":                   {deep, codes.InvalidArgument, ""},
		"a number that JSON has not": {&structpb.Struct{Fields: map[string]*structpb.Value{"n": structpb.NewNumberValue(math.NaN())}}, codes.InvalidArgument, ""},
	} {
		got, err := call(t.Context(), d.conn, "v2", "ResolveBoolean", "model-training", tc.context)
		meta, _ := got["metadata"].(map[string]any)
		if status.Code(err) != tc.code || err == nil && meta["tier"] != tc.tier {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
}

// Flags are selected by their set, as over OFREP; a key bound to sets reaches no other.
func TestResolve_sets(t *testing.T) {
	other := func(f *tiergate.Flag) { f.ID, f.Set = "other."+f.Name, "other" }
	e := engine(t, tiergate.PutOf(&tiergate.FlagSet{Name: "other"}), flag("new-dashboard", tiergate.String, `"another"`, other))
	d := open(t, flagdapi.Config{Watcher: e})
	bound := open(t, flagdapi.Config{Watcher: e, Credential: func(text string) (*tiergate.Key, error) {
		return &tiergate.Key{ID: text, TeamID: "acme", Sets: map[string][]string{"one": {"other"}, "two": {"other", "default"}, "any": nil}[text]}, nil
	}})
	for _, tc := range []struct {
		on            door
		key, selector string
		method        string
		code          codes.Code
	}{
		{d, "", "", "ResolveBoolean", codes.OK},
		{d, "", "flagSetId=", "ResolveBoolean", codes.OK},
		{d, "", "flagSetId=default", "ResolveBoolean", codes.OK},
		{d, "", "flagSetId=other", "ResolveString", codes.OK},
		{d, "", "flagSetId=nothing", "ResolveString", codes.NotFound},
		{d, "", "source=file", "ResolveString", codes.InvalidArgument},
		{d, "", "other", "ResolveString", codes.InvalidArgument},
		{bound, "one", "", "ResolveString", codes.OK},
		{bound, "one", "flagSetId=default", "ResolveBoolean", codes.PermissionDenied},
		{bound, "two", "", "ResolveBoolean", codes.OK},
		{bound, "two", "flagSetId=other", "ResolveString", codes.OK},
		{bound, "any", "flagSetId=other", "ResolveString", codes.OK},
	} {
		ctx := with(t.Context())
		if tc.key != "" {
			ctx = with(ctx, "x-api-key", tc.key)
		}
		if tc.selector != "" {
			ctx = with(ctx, "flagd-selector", tc.selector)
		}
		if got, err := call(ctx, tc.on.conn, "v2", tc.method, "new-dashboard", nil); status.Code(err) != tc.code {
			t.Errorf("key %q, selector %q: %v, %v", tc.key, tc.selector, got, err)
		}
	}
}

// All flags come with their types, reasons and metadata; those of which version 1 cannot say
// what they are, are left out, so that their code defaults apply.
func TestResolveAll(t *testing.T) {
	meta := func(f *tiergate.Flag) {
		f.Set, f.ID = "small", "small."+f.Name
		f.Metadata = map[string]any{"owner": "web", "tier": "a lie", "limit": 1}
	}
	small := func(f *tiergate.Flag) { f.Set, f.ID = "small", "small."+f.Name }
	e := engine(t,
		tiergate.PutOf(&tiergate.FlagSet{Name: "small", Metadata: map[string]any{"version": "v1", "revision": "a lie"}}),
		flag("bool", tiergate.Boolean, "true", meta), flag("text", tiergate.String, `"x"`, small),
		flag("number", tiergate.Number, "2.5", small), flag("object", tiergate.Object, `{"a":1}`, small),
		flag("code", tiergate.Boolean, "true", func(f *tiergate.Flag) { small(f); f.DefaultVariant = "" }),
		flag("off", tiergate.Boolean, "true", func(f *tiergate.Flag) { small(f); f.Enabled = false }),
		flag("broken", tiergate.Boolean, "true", func(f *tiergate.Flag) { small(f); f.Rules.Targeting = json.RawMessage(`{"?": 1}`) }),
	)
	d := open(t, flagdapi.Config{Watcher: e})
	code, got := d.post(t, "v1.Service/ResolveAll", map[string]any{"context": map[string]any{"targetingKey": "alice"}}, "Flagd-Selector", "flagSetId=small")
	if code != 200 {
		t.Fatalf("%d %v", code, got)
	}
	own := map[string]any{"revision": revision, "tier": "enterprise", "version": "v1"}
	one := func(kind string, value any) map[string]any {
		return map[string]any{"reason": "STATIC", "variant": "v", kind: value, "metadata": own}
	}
	boolean := one("boolValue", true)
	boolean["metadata"] = map[string]any{"revision": revision, "tier": "enterprise", "version": "v1", "owner": "web", "limit": 1.0}
	want := map[string]any{
		"flags": map[string]any{
			"bool": boolean, "text": one("stringValue", "x"), "number": one("doubleValue", 2.5), "object": one("objectValue", map[string]any{"a": 1.0}),
			"off": map[string]any{"reason": "DISABLED", "variant": "", "metadata": map[string]any{"revision": revision, "version": "v1"}},
		},
		"metadata": map[string]any{"revision": revision, "flagSetId": "small", "version": "v1"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mismatch (-want +got):\n%s", diff)
	}
	viaGRPC, err := call(with(t.Context(), "flagd-selector", "flagSetId=small"), d.conn, "v1", "ResolveAll", "", contextOf(t, map[string]any{"targetingKey": "alice"}))
	if diff := cmp.Diff(want, viaGRPC); err != nil || diff != "" {
		t.Errorf("over gRPC %v (-want +got):\n%s", err, diff)
	}
}

// A denied flag says so, an old state says that it is, and what is left of a metered flag is
// told in an answer about it alone, as over OFREP.
func TestResolve_metadata(t *testing.T) {
	e := engine(t)
	var asOf atomic.Pointer[time.Time]
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	asOf.Store(&now)
	d := open(t, flagdapi.Config{
		Watcher: e, Gate: gate{e}, Now: func() time.Time { return now },
		AsOf: func() time.Time { return *asOf.Load() }, StaleAfter: 15 * time.Second,
	})
	ask := func(method, name, user string) map[string]any {
		t.Helper()
		got, err := call(t.Context(), d.conn, "v2", method, name, contextOf(t, map[string]any{"targetingKey": user}))
		if err != nil {
			t.Fatal(err)
		}
		return got["metadata"].(map[string]any)
	}
	for _, tc := range []struct {
		flag, user string
		want       map[string]any
	}{
		{"white-label", "bob", map[string]any{"revision": revision, "tier": "pro", "denied": true, "denyReason": "tier", "upgrade": "enterprise"}},
		{"model-training", "bob", map[string]any{
			"revision": revision, "tier": "pro", "limit": 5.0, "limitKey": "runs", "period": "month", "remaining": 3.0, "resetsAt": "2026-11-29T13:00:00Z",
		}},
	} {
		if diff := cmp.Diff(tc.want, ask("ResolveBoolean", tc.flag, tc.user)); diff != "" {
			t.Errorf("%s for %s (-want +got):\n%s", tc.flag, tc.user, diff)
		}
	}
	all, err := call(t.Context(), d.conn, "v1", "ResolveAll", "", contextOf(t, map[string]any{"targetingKey": "bob"}))
	if err != nil {
		t.Fatal(err)
	}
	training := all["flags"].(map[string]any)["model-training"].(map[string]any)["metadata"].(map[string]any)
	if training["limit"] != 5.0 || training["period"] != "month" || training["remaining"] != nil {
		t.Errorf("among all flags a metered one says %v", training)
	}

	old := now.Add(-time.Minute)
	asOf.Store(&old)
	if meta := ask("ResolveBoolean", "new-dashboard", "bob"); meta["stale"] != true {
		t.Errorf("an old state says %v", meta)
	}
	asOf.Store(&now)
	if meta := ask("ResolveBoolean", "new-dashboard", "bob"); meta["stale"] != nil {
		t.Errorf("a fresh state says %v", meta)
	}
	step(t, e, flag("late", tiergate.Boolean, "true", nil))
	if meta := ask("ResolveBoolean", "new-dashboard", "bob"); meta["revision"] != "01234567-8" {
		t.Errorf("the next state says %v", meta)
	}
}

// gate knows of one quota, of which 3 are left for an hour.
type gate struct{ e *evaluator.Engine }

func (g gate) Check(_ context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	return tiergate.Verdict{Resume: g.e.Generation().Resume(), Limits: []tiergate.LimitState{
		{Key: "slots", Kind: tiergate.Concurrency, Amount: 1},
		{Key: "runs", Kind: tiergate.Quota, Period: "month", Amount: 5, Min: 3, Max: 4, AsOf: u.Now, ResetsIn: time.Hour},
	}}, nil
}

func (gate) Consume(context.Context, *tiergate.Use) (tiergate.Verdict, error) { panic("it consumes") }
func (gate) Track(context.Context, *tiergate.Use) (tiergate.Verdict, error)   { panic("it tracks") }

// Before anything is loaded calls are UNAVAILABLE; and a caller that is ahead is told so.
func TestResolve_not_there_yet(t *testing.T) {
	e := evaluator.New(evaluator.Options{})
	d := open(t, flagdapi.Config{Watcher: e})
	if _, err := d.v2.ResolveBoolean(t.Context(), &wirev2.ResolveBooleanRequest{FlagKey: "new-dashboard"}); status.Code(err) != codes.Unavailable {
		t.Errorf("before the first state: %v", err)
	}
	if _, err := d.v1.ResolveAll(t.Context(), &wirev1.ResolveAllRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("before the first state: %v", err)
	}
	whole(t, e, 7)
	for want, code := range map[string]codes.Code{
		revision: codes.OK, "01234567-8": codes.Unavailable, "98765432-1": codes.FailedPrecondition, "nonsense": codes.InvalidArgument,
	} {
		ctx := with(t.Context(), "tiergate-min-revision", want)
		if _, err := d.v2.ResolveBoolean(ctx, &wirev2.ResolveBooleanRequest{FlagKey: "new-dashboard"}); status.Code(err) != code {
			t.Errorf("from revision %s on: %v", want, err)
		}
	}
}
