package decision_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/valyala/fasthttp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/conformance"
	tiergatev1 "github.com/tiergate/tiergate/internal/wire/tiergate/v1"
	"github.com/tiergate/tiergate/server/decision"
)

// Over gRPC the demo data leads to the uses that were worked out by hand, alone and in batches.
func TestRPC_conformance(t *testing.T) {
	for _, batch := range []bool{false, true} {
		conformance.RunUses(t, func(t *testing.T) func(conformance.UseStep) conformance.UseAnswer {
			client := dialRPC(t, decision.NewService(realConfig(t)), nil)
			return func(s conformance.UseStep) conformance.UseAnswer {
				v := askRPC(t, client, s, batch)
				a := conformance.UseAnswer{
					Reason: v.Reason, Status: int(v.Status), Tier: v.Tier, Upgrade: v.Upgrade, Denied: v.DeniedBy, Left: map[string]int64{},
				}
				for _, l := range v.Limits {
					a.Left[l.Key] = l.RemainingMax
				}
				return a
			}
		})
	}
}

func askRPC(t *testing.T, client tiergatev1.DecisionServiceClient, s conformance.UseStep, batch bool) *tiergatev1.Verdict {
	t.Helper()
	q := &tiergatev1.Question{Feature: s.Feature, Subject: &tiergatev1.Subject{User: s.User, Team: s.Team}}
	var one interface{ GetVerdict() *tiergatev1.Verdict }
	var many interface {
		GetResults() []*tiergatev1.BatchResult
	}
	var err error
	ctx := t.Context()
	switch {
	case s.Do == "check" && batch:
		many, err = client.BatchCheck(ctx, &tiergatev1.BatchCheckRequest{Items: []*tiergatev1.CheckRequest{{Question: q, Cost: s.Cost}}})
	case s.Do == "check":
		one, err = client.Check(ctx, &tiergatev1.CheckRequest{Question: q, Cost: s.Cost})
	case s.Do == "consume" && batch:
		many, err = client.BatchConsume(ctx, &tiergatev1.BatchConsumeRequest{Items: []*tiergatev1.ConsumeRequest{{Question: q, Cost: s.Cost}}})
	case s.Do == "consume":
		one, err = client.Consume(ctx, &tiergatev1.ConsumeRequest{Question: q, Cost: s.Cost})
	case batch:
		many, err = client.BatchTrack(ctx, &tiergatev1.BatchTrackRequest{Items: []*tiergatev1.TrackRequest{{Question: q, Cost: s.Cost}}})
	default:
		one, err = client.Track(ctx, &tiergatev1.TrackRequest{Question: q, Cost: s.Cost})
	}
	if err != nil {
		t.Fatalf("%s %s: %v", s.Do, s.Feature, err)
	}
	if batch {
		return many.GetResults()[0].GetVerdict()
	}
	return one.GetVerdict()
}

// The same use sent over HTTP and over gRPC with one key is one use, whichever comes first; and
// another use with that key is refused at either door.
func TestRPC_and_HTTP_share_keys(t *testing.T) {
	cfg := realConfig(t)
	http, client := decision.New(cfg), dialRPC(t, decision.NewService(cfg), nil)
	body := func(key, cost string) string {
		return fmt.Sprintf(`{"feature":"exports","subject":{"user":"bob"},"cost":%s,"idempotencyKey":"%s","attributes":{"size":12345678,"share":1e-7,"l":[1.0,{"a":"é"}]},"metadata":{"b":2.50,"a":1}}`, cost, key)
	}
	over := map[string]func(key, cost string) (left int64, replayed, reused bool){
		"HTTP": func(key, cost string) (int64, bool, bool) {
			status, s := talk(t, http, "consume", body(key, cost))
			if status != 200 {
				return 0, false, status == 422
			}
			return s.Limits[0].Remaining.Min, s.Replayed, false
		},
		"gRPC": func(key, cost string) (int64, bool, bool) {
			r, err := client.Consume(t.Context(), messageOf(t, body(key, cost), new(tiergatev1.ConsumeRequest)))
			if err != nil {
				return 0, false, status.Code(err) == codes.AlreadyExists
			}
			return r.Verdict.Limits[0].RemainingMin, r.Verdict.Replayed, false
		},
	}
	want := int64(50)
	for first, then := range map[string]string{"HTTP": "gRPC", "gRPC": "HTTP"} {
		key := "first-over-" + first
		want -= 2
		if left, replayed, _ := over[first](key, "2"); left != want || replayed {
			t.Errorf("over %s: %d left, replayed %v; want %d", first, left, replayed, want)
		}
		if left, replayed, _ := over[then](key, "2"); left != want || !replayed {
			t.Errorf("over %s and then %s: %d left, replayed %v; want %d", first, then, left, replayed, want)
		}
		if _, _, reused := over[then](key, "3"); !reused {
			t.Errorf("another use over %s with the key of one over %s is not refused", then, first)
		}
	}
	hold := `{"feature":"model-training","subject":{"user":"bob","team":"globex"},"id":"job-1","ttlMs":60000,"metadata":{"gpu":4}}`
	if status, s := talk(t, http, "reservations", hold); status != 200 || !s.Allow {
		t.Fatalf("reserve: %d %+v", status, s)
	}
	again, err := client.Reserve(t.Context(), messageOf(t, hold, new(tiergatev1.ReserveRequest)))
	if err != nil || again.Reservation.GetId() != "job-1" || again.Reservation.Metadata.Fields["gpu"].GetNumberValue() != 4 {
		t.Errorf("the same reservation over gRPC: %v, %v", again, err)
	}
}

// Whatever is asked, the question has one fingerprint, and the gate is asked the same, whichever
// door it comes through.
func TestRPC_fingerprints_are_those_of_HTTP(t *testing.T) {
	var said []string
	say := func(verb string, u *tiergate.Use) (tiergate.Verdict, error) {
		said = append(said, describe(verb, u)+" print "+strings.Clone(u.Fingerprint))
		return tiergate.Verdict{Reason: tiergate.UseAllowed}, nil
	}
	d, g := door(nil)
	service, h := rpcDoor(nil)
	g.say, h.say = say, say
	name := rapid.StringMatching(`[a-zäß -~]{1,8}`)
	rapid.Check(t, func(t *rapid.T) {
		said = said[:0]
		members := map[string]any{"feature": name.Draw(t, "feature"), "idempotencyKey": "k"}
		if rapid.Bool().Draw(t, "with subject") {
			members["subject"] = map[string]any{"user": name.Draw(t, "user"), "team": name.Draw(t, "team")}
		}
		if rapid.Bool().Draw(t, "with cost") {
			members["cost"] = rapid.Int64Range(1, tiergate.MaxAmount).Draw(t, "cost")
		}
		for _, object := range []string{"attributes", "metadata"} {
			if rapid.Bool().Draw(t, "with "+object) {
				members[object] = rapid.MapOfN(name, anything(2), 0, 5).Draw(t, object)
			}
		}
		body, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		var ctx fasthttp.RequestCtx
		fill(&ctx, "/v1/consume", string(body))
		d.Handle(&ctx)
		if _, err := service.Consume(t.Context(), messageOf(t, string(body), new(tiergatev1.ConsumeRequest))); err != nil {
			t.Fatal(err)
		}
		if len(said) != 2 || withoutMetadata(said[0]) != withoutMetadata(said[1]) {
			t.Fatalf("%s asks %q", body, said)
		}
	})
}

// withoutMetadata leaves the text of metadata out: a message has no order of members.
func withoutMetadata(said string) string {
	asked, rest, _ := strings.Cut(said, " with ")
	_, print, _ := strings.Cut(rest, " print ")
	return asked + print
}

// anything draws what encoding/json makes of JSON.
func anything(depth int) *rapid.Generator[any] {
	name := rapid.StringMatching(`[a-zäß"\\ -~]{0,8}`)
	leaf := rapid.OneOf(
		rapid.Just(any(nil)), rapid.Map(rapid.Bool(), toAny[bool]), rapid.Map(name, toAny[string]),
		rapid.Map(rapid.Float64Range(-1e300, 1e300), toAny[float64]), rapid.Map(rapid.Int32(), toAny[int32]),
	)
	if depth == 0 {
		return leaf
	}
	inner := anything(depth - 1)
	return rapid.OneOf(leaf, rapid.Map(rapid.SliceOfN(inner, 0, 3), toAny[[]any]), rapid.Map(rapid.MapOfN(name, inner, 0, 3), toAny[map[string]any]))
}

func toAny[T any](v T) any { return v }

// A long job holds a slot and a unit, is looked at and extended, commits what it used, and is
// gone for others.
func TestRPC_reservations(t *testing.T) {
	client := dialRPC(t, decision.NewService(realConfig(t)), nil)
	ctx := t.Context()
	job := func(id string) *tiergatev1.ReserveRequest {
		metadata, _ := structpb.NewStruct(map[string]any{"gpu": 4})
		return &tiergatev1.ReserveRequest{
			Question: &tiergatev1.Question{Feature: "model-training", Subject: &tiergatev1.Subject{User: "bob", Team: "globex"}},
			Id:       id, TtlMs: 60_000, Metadata: metadata,
		}
	}
	for range 2 { // sent again, it is the same one
		r, err := client.Reserve(ctx, job("job-1"))
		if err != nil || !r.Verdict.Allow || r.Reservation.GetId() != "job-1" || r.Reservation.State != "HELD" || len(r.Reservation.Holds) != 2 ||
			r.Reservation.Subject.Team != "globex" || r.Reservation.Metadata.Fields["gpu"].GetNumberValue() != 4 {
			t.Fatalf("%v, %v", r, err)
		}
	}
	if r, err := client.Reserve(ctx, job("job-2")); err != nil || r.Verdict.Reason != "CONCURRENCY" || r.Reservation != nil {
		t.Errorf("a second job of a team with one slot: %v, %v", r, err)
	}
	before, err := client.GetReservation(ctx, &tiergatev1.GetReservationRequest{Id: "job-1"})
	if err != nil || before.Reservation.State != "HELD" || before.Revision == "" || before.Reservation.SettledAt != nil {
		t.Errorf("looked at: %v, %v", before, err)
	}
	extended, err := client.ExtendReservation(ctx, &tiergatev1.ExtendReservationRequest{Id: "job-1", TtlMs: 3_600_000})
	if err != nil || !extended.Reservation.ExpiresAt.AsTime().After(before.Reservation.ExpiresAt.AsTime()) {
		t.Errorf("extended: %v, %v", extended, err)
	}
	one := int64(1)
	committed, err := client.CommitReservation(ctx, &tiergatev1.CommitReservationRequest{Id: "job-1", Actual: &one})
	if err != nil || committed.Reservation.State != "COMMITTED" || committed.Reservation.GetActual() != 1 || committed.Reservation.SettledAt == nil {
		t.Errorf("committed: %v, %v", committed, err)
	}
	if _, err := client.ReleaseReservation(ctx, &tiergatev1.ReleaseReservationRequest{Id: "job-1"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("released afterwards: %v", err)
	}
	many := tiergate.MaxAmount
	if _, err := client.Reserve(ctx, job("job-3")); err != nil {
		t.Error(err)
	}
	_, err = client.CommitReservation(ctx, &tiergatev1.CommitReservationRequest{Id: "job-3", Actual: &many})
	if info, _, _ := detailsOf(status.Convert(err)); status.Code(err) != codes.ResourceExhausted || info.GetReason() != "EXHAUSTED" {
		t.Errorf("committed with more than there is: %v", err)
	}
	if r, err := client.ReleaseReservation(ctx, &tiergatev1.ReleaseReservationRequest{Id: "job-3"}); err != nil || r.Reservation.State != "RELEASED" {
		t.Errorf("released: %v, %v", r, err)
	}
	for name, err := range map[string]error{
		"no id":          second(client.GetReservation(ctx, &tiergatev1.GetReservationRequest{})),
		"an id of none":  second(client.CommitReservation(ctx, &tiergatev1.CommitReservationRequest{Id: "../check"})),
		"an unknown one": second(client.ReleaseReservation(ctx, &tiergatev1.ReleaseReservationRequest{Id: "job-9"})),
	} {
		if status.Code(err) != codes.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	less := int64(-1)
	for field, err := range map[string]error{
		"ttl_ms": second(client.ExtendReservation(ctx, &tiergatev1.ExtendReservationRequest{Id: "job-1", TtlMs: 1})),
		"actual": second(client.CommitReservation(ctx, &tiergatev1.CommitReservationRequest{Id: "job-1", Actual: &less})),
		"id":     second(client.Reserve(ctx, job("a/b"))),
	} {
		if _, got, _ := detailsOf(status.Convert(err)); status.Code(err) != codes.InvalidArgument || got != field {
			t.Errorf("%s: %v of %q", field, err, got)
		}
	}
}

// A team has no more seats than its tier.
func TestRPC_gauges(t *testing.T) {
	client := dialRPC(t, decision.NewService(realConfig(t)), nil)
	q := &tiergatev1.Question{Feature: "seats", Subject: &tiergatev1.Subject{Team: "initech"}}
	for i := range 7 {
		r, err := client.AddToGauge(t.Context(), &tiergatev1.AddToGaugeRequest{Question: q, Item: fmt.Sprint("u", i%6)})
		if err != nil || r.Verdict.Allow != (i%6 < 5) {
			t.Errorf("seat %d: %v, %v", i, r, err)
		}
	}
	if r, err := client.RemoveFromGauge(t.Context(), &tiergatev1.RemoveFromGaugeRequest{Question: q, Item: "u0"}); err != nil || !r.Verdict.Allow {
		t.Errorf("a seat given back: %v, %v", r, err)
	}
	r, err := client.ReplaceGauge(t.Context(), &tiergatev1.ReplaceGaugeRequest{Question: q, Items: []string{"a", "b", "a"}})
	if err != nil || !r.Verdict.Allow || r.Verdict.Limits[0].RemainingMin != 3 {
		t.Errorf("two seats of five: %v, %v", r, err)
	}
	if r, err := client.ReplaceGauge(t.Context(), &tiergatev1.ReplaceGaugeRequest{Question: q}); err != nil || r.Verdict.Limits[0].RemainingMin != 5 {
		t.Errorf("no seats: %v, %v", r, err)
	}
	for _, n := range []int{decision.MaxGaugeItems + 1, 200_000} {
		_, err := client.ReplaceGauge(t.Context(), &tiergatev1.ReplaceGaugeRequest{Question: q, Items: slices.Repeat([]string{"u"}, n)})
		if _, field, _ := detailsOf(status.Convert(err)); status.Code(err) != codes.InvalidArgument || field != "items" {
			t.Errorf("%d items: %v", n, err)
		}
	}
}

// Many calls at once, alone and in batches and over both doors, get exactly as much as there is,
// each with an id of its own that stays what it is.
func TestRPC_never_too_much(t *testing.T) {
	cfg := realConfig(t)
	http, service := decision.New(cfg), decision.NewService(cfg)
	var mu sync.Mutex
	allowed := 0
	var verdicts []*tiergatev1.Verdict // as they are when all calls are over
	count := func(v *tiergatev1.Verdict) {
		mu.Lock()
		defer mu.Unlock()
		if v.GetAllow() {
			allowed++
			verdicts = append(verdicts, v)
		}
	}
	var all sync.WaitGroup
	for n := range 9 {
		all.Go(func() {
			for i := range 4 {
				one := &tiergatev1.ConsumeRequest{Question: &tiergatev1.Question{Feature: "exports", Subject: &tiergatev1.Subject{User: "bob"}}}
				switch n % 3 {
				case 0:
					r, err := service.Consume(t.Context(), one)
					if err != nil {
						t.Error(err)
					}
					count(r.GetVerdict())
				case 1:
					items := make([]*tiergatev1.ConsumeRequest, 2+i)
					for j := range items {
						items[j] = one
					}
					r, err := service.BatchConsume(t.Context(), &tiergatev1.BatchConsumeRequest{Items: items})
					if err != nil {
						t.Error(err)
					}
					for _, it := range r.GetResults() {
						count(it.GetVerdict())
					}
				default:
					_, s := talk(t, http, "consume", `{"feature":"exports","subject":{"user":"bob"}}`)
					count(&tiergatev1.Verdict{Allow: s.Allow, DecisionId: s.DecisionID})
				}
			}
		})
	}
	all.Wait()
	if allowed != 50 {
		t.Errorf("%d of 50 exports were allowed", allowed)
	}
	ids := map[string]bool{}
	for _, v := range verdicts {
		ids[v.DecisionId] = true
	}
	if len(ids) != len(verdicts) {
		t.Errorf("%d uses have %d ids", len(verdicts), len(ids))
	}
}

// Many calls at once never see anything of each other, though they use the same memory one after
// the other.
func TestRPC_concurrent_calls_are_apart(t *testing.T) {
	service, g := rpcDoor(nil)
	g.say = func(verb string, u *tiergate.Use) (tiergate.Verdict, error) {
		who := u.UserID
		if u.Flag != "f-"+who || u.TeamID != "t-"+who || u.IdempotencyKey != "k-"+who || string(u.Metadata) != `{"who":"`+who+`"}` || u.Attributes.Field("who").Text() != who {
			t.Errorf("%s was asked by a mixture: %s", verb, describe(verb, u))
		}
		return tiergate.Verdict{Allow: true, Reason: tiergate.UseAllowed, ID: who}, nil
	}
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 200 {
				who := fmt.Sprintf("u%d-%d", n, i)
				object, _ := structpb.NewStruct(map[string]any{"who": who})
				one := &tiergatev1.TrackRequest{
					Question: &tiergatev1.Question{Feature: "f-" + who, Subject: &tiergatev1.Subject{User: who, Team: "t-" + who}, Attributes: object},
					Metadata: object, IdempotencyKey: "k-" + who,
				}
				var verdicts []*tiergatev1.Verdict
				if i%3 == 0 {
					r, err := service.BatchTrack(t.Context(), &tiergatev1.BatchTrackRequest{Items: []*tiergatev1.TrackRequest{one, one}})
					if err != nil {
						t.Error(err)
					}
					for _, it := range r.GetResults() {
						verdicts = append(verdicts, it.GetVerdict())
					}
				} else {
					r, err := service.Track(t.Context(), one)
					if err != nil {
						t.Error(err)
					}
					verdicts = append(verdicts, r.GetVerdict())
				}
				for _, v := range verdicts {
					if v.GetFeature() != "f-"+who || v.GetDecisionId() != who {
						t.Errorf("%s is answered with %v", who, v)
					}
				}
			}
		})
	}
	all.Wait()
}
