package evaluator_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, time.March, 4, 5, 6, 7, 0, time.UTC)

func resume(rev int64) tiergate.Resume { return tiergate.Resume{Epoch: "abcdefgh-1", Rev: rev} }

// whole is the revision of a whole state.
func whole(rev int64, changes ...tiergate.Change) tiergate.Revision {
	return tiergate.Revision{Resume: resume(rev), Whole: true, Changes: tiergate.ChangesOf(changes...)}
}

// step is a revision on top of another.
func step(rev int64, changes ...tiergate.Change) tiergate.Revision {
	return tiergate.Revision{Resume: resume(rev), Changes: tiergate.ChangesOf(changes...)}
}

func apply(tb testing.TB, e *evaluator.Engine, r tiergate.Revision) {
	tb.Helper()
	if err := e.Apply(tb.Context(), r); err != nil {
		tb.Fatalf("Apply: %v", err)
	}
}

// demo is an engine over the demo data and more changes.
func demo(tb testing.TB, more ...tiergate.Change) *evaluator.Engine {
	tb.Helper()
	e := newEngine(evaluator.Options{})
	apply(tb, e, whole(1, append(conformance.Demo(), more...)...))
	return e
}

// boolean is a change that puts an on/off flag for everybody, changed by edit.
func boolean(name string, edit func(*tiergate.Flag)) tiergate.Change {
	f := &tiergate.Flag{
		ID: name, Set: tiergate.DefaultSet, Name: name, Type: tiergate.Boolean, Enabled: true,
		Variants:       map[string]json.RawMessage{"on": json.RawMessage("true"), "off": json.RawMessage("false")},
		DefaultVariant: "on", OffVariant: "off", Rules: tiergate.Rules{Tiers: []string{}, Percentage: 100},
	}
	if edit != nil {
		edit(f)
	}
	return tiergate.PutOf(f)
}

func value(tb testing.TB, text string) tiergate.Value {
	tb.Helper()
	v, err := jsonvalue.Parse([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// ask decides for a context as an application sends it.
func ask(tb testing.TB, e *evaluator.Engine, flag, context string) tiergate.Decision {
	tb.Helper()
	return askAt(tb, e, flag, context, now)
}

func askAt(tb testing.TB, e *evaluator.Engine, flag, context string, now time.Time) tiergate.Decision {
	tb.Helper()
	v := value(tb, context)
	return e.Generation().Decide(&tiergate.Request{
		Flag: flag, UserID: v.Field("targetingKey").Text(), TeamID: v.Field("teamId").Text(), Attributes: v, Now: now,
	})
}

func name(kind string, n int) string { return fmt.Sprintf("%s-%06d", kind, n) }

// newEngine gives policies time: on a busy machine a test may stand still for longer than
// an evaluation may take.
func newEngine(o evaluator.Options) *evaluator.Engine {
	o.Policy.Deadline = time.Minute
	return evaluator.New(o)
}
