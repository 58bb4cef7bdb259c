package decision_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tiergate/tiergate"
	tiergatev1 "github.com/tiergate/tiergate/internal/wire/tiergate/v1"
	"github.com/tiergate/tiergate/server/decision"
	"github.com/tiergate/tiergate/server/rpc"
)

// rpcDoor is the gRPC door over the fake gate, and over what change makes of it.
func rpcDoor(change func(*decision.Config)) (tiergatev1.DecisionServiceServer, *gate) {
	g := &gate{say: answers}
	cfg := decision.Config{Evaluator: inForce{&resume}, Gate: g, Gauges: g, Now: func() time.Time { return now }}
	if change != nil {
		change(&cfg)
	}
	return decision.NewService(cfg), g
}

// dialRPC serves a service in memory until the test ends, and returns a client. The key of a
// call is the one that its metadata x-api-key names.
func dialRPC(t *testing.T, service tiergatev1.DecisionServiceServer, keys map[string]*tiergate.Key) tiergatev1.DecisionServiceClient {
	t.Helper()
	ln := bufconn.Listen(1 << 20)
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		for _, name := range metadata.ValueFromIncomingContext(ctx, "x-api-key") {
			ctx = rpc.WithKey(ctx, keys[name])
		}
		return handle(ctx, req)
	}))
	tiergatev1.RegisterDecisionServiceServer(s, service)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	conn, err := grpc.NewClient("passthrough:memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		s.Stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return tiergatev1.NewDecisionServiceClient(conn)
}

// messageOf makes the message that asks what a JSON body asks.
func messageOf[M proto.Message](t interface {
	Helper()
	Fatalf(string, ...any)
}, body string, m M,
) M {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &members); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	question := map[string]json.RawMessage{}
	for _, name := range []string{"feature", "subject", "attributes", "set"} {
		if v, ok := members[name]; ok {
			question[name] = v
			delete(members, name)
		}
	}
	members["question"], _ = json.Marshal(question)
	text, _ := json.Marshal(members)
	if err := protojson.Unmarshal(text, m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m
}

// verdictOf reads the JSON of an answer into the message that says the same.
func verdictOf(t *testing.T, body string) *tiergatev1.Verdict {
	t.Helper()
	var a struct {
		Allow                                                      bool
		Status                                                     int32
		Reason, Message, Feature, Variant, Tier, DeniedBy, Upgrade string
		Value                                                      any
		Limits                                                     []struct {
			Key, Kind  string
			Limit      int64
			Remaining  struct{ Min, Max int64 }
			ResetsInMs *int64
			Exact      bool
			AsOf       *time.Time
		}
		RetryAfterMs *int64
		Revision     string
		Stale        bool
		Replayed     bool
		DecisionID   string
	}
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	v := &tiergatev1.Verdict{
		Allow: a.Allow, Status: a.Status, Reason: a.Reason, Message: a.Message, Feature: a.Feature, Variant: a.Variant, Tier: a.Tier,
		DeniedBy: a.DeniedBy, Upgrade: a.Upgrade, RetryAfterMs: a.RetryAfterMs, Revision: a.Revision, Stale: a.Stale, Replayed: a.Replayed,
		DecisionId: a.DecisionID,
	}
	if a.Value != nil {
		var err error
		if v.Value, err = structpb.NewValue(a.Value); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range a.Limits {
		m := &tiergatev1.Limit{
			Key: l.Key, Kind: l.Kind, Limit: l.Limit, RemainingMin: l.Remaining.Min, RemainingMax: l.Remaining.Max, ResetsInMs: l.ResetsInMs, Exact: l.Exact,
		}
		if l.AsOf != nil {
			m.AsOf = timestamppb.New(*l.AsOf)
		}
		v.Limits = append(v.Limits, m)
	}
	return v
}

// What the HTTP door answers, the gRPC door answers: every kind of verdict, member by member,
// asked with every member of a question; and the gate is asked the same.
func TestRPC_answers_as_HTTP(t *testing.T) {
	addr, http := serve(t, func(cfg *decision.Config) {
		cfg.AsOf, cfg.StaleAfter = func() time.Time { return now.Add(-time.Minute) }, time.Second
	})
	service, g := rpcDoor(func(cfg *decision.Config) {
		cfg.AsOf, cfg.StaleAfter = func() time.Time { return now.Add(-time.Minute) }, time.Second
	})
	client := dialRPC(t, service, nil)
	for _, feature := range []string{"x", "exports", "tier", "exhausted", "contended", "away", "nobody", "nope", "replayed"} {
		for _, body := range []string{
			`{"feature":"%s"}`,
			`{"feature":"%s","subject":{"user":"alice"}}`,
			`{"feature":"%s","subject":{"team":"acme"},"set":"web","cost":9007199254740992,"attributes":{"a":[1,2.5,null,{"b":true}],"c":1234567}}`,
		} {
			body = fmt.Sprintf(body, feature)
			req := messageOf(t, body, new(tiergatev1.CheckRequest))
			got, err := client.Check(t.Context(), req)
			if err != nil {
				t.Errorf("%s: %v", body, err)
				continue
			}
			if diff := cmp.Diff(verdictOf(t, ask(t, addr, post("/v1/check", body)).body), got.Verdict, protocmp.Transform()); diff != "" {
				t.Errorf("%s (-HTTP +gRPC):\n%s", body, diff)
			}
		}
		body := fmt.Sprintf(`{"feature":"%s","subject":{"user":"alice"},"cost":2,"idempotencyKey":"k 1","metadata":{"bytes":1024,"path":"/x"}}`, feature)
		consumed, err := client.Consume(t.Context(), messageOf(t, body, new(tiergatev1.ConsumeRequest)))
		if diff := cmp.Diff(verdictOf(t, ask(t, addr, post("/v1/consume", body)).body), consumed.GetVerdict(), protocmp.Transform()); diff != "" || err != nil {
			t.Errorf("%s (-HTTP +gRPC): %v\n%s", body, err, diff)
		}
		body = strings.Replace(body, `"cost"`, `"at":"2026-03-01T11:00:00.123456789Z","cost"`, 1)
		tracked, err := client.Track(t.Context(), messageOf(t, body, new(tiergatev1.TrackRequest)))
		if diff := cmp.Diff(verdictOf(t, ask(t, addr, post("/v1/track", body)).body), tracked.GetVerdict(), protocmp.Transform()); diff != "" || err != nil {
			t.Errorf("%s (-HTTP +gRPC): %v\n%s", body, err, diff)
		}
		body = fmt.Sprintf(`{"feature":"%s","subject":{"team":"acme"},"item":"u1"}`, feature)
		added, err := client.AddToGauge(t.Context(), messageOf(t, body, new(tiergatev1.AddToGaugeRequest)))
		if diff := cmp.Diff(verdictOf(t, ask(t, addr, post("/v1/gauges/add", body)).body), added.GetVerdict(), protocmp.Transform()); diff != "" || err != nil {
			t.Errorf("%s (-HTTP +gRPC): %v\n%s", body, err, diff)
		}
	}
	if diff := cmp.Diff(http.uses, g.uses); diff != "" {
		t.Errorf("the gate is asked (-by HTTP +by gRPC):\n%s", diff)
	}
}

// What the HTTP door refuses, the gRPC door refuses for the same reason, with the code that
// AIP-193 has for it, and the field at fault where it stands in the message.
func TestRPC_refuses_as_HTTP(t *testing.T) {
	addr, _ := serve(t, nil)
	service, g := rpcDoor(nil)
	client := dialRPC(t, service, nil)
	long := strings.Repeat("x", 257)
	for _, want := range []struct {
		body  string
		code  codes.Code
		field string
	}{
		{`{}`, codes.InvalidArgument, "question.feature"},
		{`{"feature":"` + long + `"}`, codes.InvalidArgument, "question.feature"},
		{`{"feature":"a\u0000b"}`, codes.InvalidArgument, "question.feature"},
		{`{"feature":"x","cost":-1}`, codes.InvalidArgument, "cost"},
		{`{"feature":"x","cost":9007199254740993}`, codes.InvalidArgument, "cost"},
		{`{"feature":"x","subject":{"user":"` + long + `"}}`, codes.InvalidArgument, "question.subject.user"},
		{`{"feature":"x","subject":{"team":"a\nb"}}`, codes.InvalidArgument, "question.subject.team"},
		{`{"feature":"x","set":"` + long + `"}`, codes.InvalidArgument, "question.set"},
		{`{"feature":"x","idempotencyKey":"größe"}`, codes.InvalidArgument, "idempotency_key"},
		{`{"feature":"x","metadata":{"a":"` + strings.Repeat("y", 17000) + `"}}`, codes.InvalidArgument, "metadata"},
		{`{"feature":"x","metadata":{"a":"\u0000"}}`, codes.InvalidArgument, "metadata"},
		{`{"feature":"x","attributes":{` + manyMembers(4097) + `}}`, codes.InvalidArgument, "question.attributes"},
		{`{"feature":"running"}`, codes.Aborted, ""},
		{`{"feature":"reused","idempotencyKey":"k"}`, codes.AlreadyExists, ""},
		{`{"feature":"loading"}`, codes.Unavailable, ""},
		{`{"feature":"broken"}`, codes.Internal, ""},
	} {
		body, asked := want.body, len(g.uses)
		var header metadata.MD
		_, err := client.Consume(t.Context(), messageOf(t, body, new(tiergatev1.ConsumeRequest)), grpc.Header(&header))
		f := readFault(t, ask(t, addr, post("/v1/consume", body)))
		st := status.Convert(err)
		info, field, retry := detailsOf(st)
		if st.Code() != want.code || st.Message() != f.Detail || field != want.field {
			t.Errorf("%.80s: %v of field %q, want %v %q of %q", body, st, field, want.code, f.Detail, want.field)
		}
		if info.GetReason() != strings.ToUpper(f.Code) || info.GetDomain() != "tiergate" {
			t.Errorf("%.80s: %v, want the reason %s", body, info, f.Code)
		}
		if passing := want.code == codes.Aborted || want.code == codes.Unavailable; passing != (retry > 0) {
			t.Errorf("%.80s: retry after %v", body, retry)
		}
		if got := header.Get("tiergate-revision"); len(got) != 1 || got[0] != "01234567-7" {
			t.Errorf("%.80s: the revision is %q", body, got)
		}
		if want.code == codes.InvalidArgument && len(g.uses) > asked {
			t.Errorf("%.80s: the gate is asked", body)
		}
	}
}

func detailsOf(st *status.Status) (info *errdetails.ErrorInfo, field string, retry time.Duration) {
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.BadRequest:
			field = d.FieldViolations[0].Field
		case *errdetails.RetryInfo:
			retry = d.RetryDelay.AsDuration()
		}
	}
	return info, field, retry
}

// Each code that an error may have has a code of gRPC.
func TestRPC_codes(t *testing.T) {
	for code, want := range map[tiergate.Code]codes.Code{
		tiergate.Invalid: codes.InvalidArgument, tiergate.Unauthorized: codes.Unauthenticated, tiergate.Forbidden: codes.PermissionDenied,
		tiergate.NotFound: codes.NotFound, tiergate.Conflict: codes.FailedPrecondition, tiergate.Stale: codes.FailedPrecondition,
		tiergate.KeyReused: codes.AlreadyExists, tiergate.Gone: codes.FailedPrecondition, tiergate.Exhausted: codes.ResourceExhausted,
		tiergate.Unavailable: codes.Unavailable, tiergate.Internal: codes.Internal,
	} {
		service, _ := rpcDoor(func(cfg *decision.Config) { cfg.Reservations = &reservations{fail: tiergate.Errorf(code, "because")} })
		_, err := service.GetReservation(t.Context(), &tiergatev1.GetReservationRequest{Id: "r1"})
		if got := status.Code(err); got != want {
			t.Errorf("%s is %v, want %v", code, got, want)
		}
	}
}

// What a message can say and JSON cannot is refused, too.
func TestRPC_refuses_what_is_no_JSON(t *testing.T) {
	service, g := rpcDoor(nil)
	deep := &structpb.Struct{}
	for range 40 {
		deep = &structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewStructValue(deep)}}
	}
	infinite := &structpb.Struct{Fields: map[string]*structpb.Value{"n": structpb.NewNumberValue(math.Inf(1))}}
	for name, tc := range map[string]struct {
		req   *tiergatev1.TrackRequest
		field string
	}{
		"too deep":   {&tiergatev1.TrackRequest{Question: &tiergatev1.Question{Feature: "x", Attributes: deep}}, "question.attributes"},
		"infinite":   {&tiergatev1.TrackRequest{Question: &tiergatev1.Question{Feature: "x"}, Metadata: infinite}, "metadata"},
		"not a time": {&tiergatev1.TrackRequest{Question: &tiergatev1.Question{Feature: "x"}, At: &timestamppb.Timestamp{Nanos: -1}}, "at"},
		"long ago":   {&tiergatev1.TrackRequest{Question: &tiergatev1.Question{Feature: "x"}, At: timestamppb.New(now.AddDate(-1, 0, 0))}, "at"},
		"not UTF-8":  {&tiergatev1.TrackRequest{Question: &tiergatev1.Question{Feature: "x", Subject: &tiergatev1.Subject{User: "\xff"}}}, "question.subject.user"},
		"nothing":    {nil, "question.feature"},
	} {
		_, err := service.Track(t.Context(), tc.req)
		if _, field, _ := detailsOf(status.Convert(err)); status.Code(err) != codes.InvalidArgument || field != tc.field {
			t.Errorf("%s: %v of field %q", name, err, field)
		}
	}
	if len(g.uses) > 0 {
		t.Errorf("the gate is asked %q", g.uses)
	}
}

// The team is the key's, a key needs the scope for what it asks, and may be limited to a set.
func TestRPC_keys(t *testing.T) {
	keys := map[string]*tiergate.Key{
		"evaluates": {ID: "e", TeamID: "acme", Scopes: []string{tiergate.ScopeEvaluate}},
		"consumes":  {ID: "c", TeamID: "globex", Scopes: []string{tiergate.ScopeConsume}},
		"sets":      {ID: "s", TeamID: "acme", Scopes: []string{tiergate.ScopeConsume}, Sets: []string{"web"}},
		"other":     {ID: "o", TeamID: "acme", Scopes: []string{"training:work"}},
	}
	service, g := rpcDoor(func(cfg *decision.Config) {
		cfg.Reservations = new(reservations)
		cfg.Credential = func(string) (*tiergate.Key, error) { panic("the interceptor has done it") }
	})
	client := dialRPC(t, service, keys)
	q := &tiergatev1.Question{Feature: "x", Subject: &tiergatev1.Subject{User: "bob", Team: "initech"}}
	verbs := map[string]func(ctx context.Context) error{
		"check": func(ctx context.Context) error {
			_, err := client.Check(ctx, &tiergatev1.CheckRequest{Question: q})
			return err
		},
		"consume": func(ctx context.Context) error {
			_, err := client.Consume(ctx, &tiergatev1.ConsumeRequest{Question: q})
			return err
		},
		"track": func(ctx context.Context) error {
			_, err := client.BatchTrack(ctx, new(tiergatev1.BatchTrackRequest))
			return err
		},
		"look": func(ctx context.Context) error {
			_, err := client.GetReservation(ctx, &tiergatev1.GetReservationRequest{Id: "r1"})
			return err
		},
		"seat": func(ctx context.Context) error {
			_, err := client.AddToGauge(ctx, &tiergatev1.AddToGaugeRequest{Question: q, Item: "u"})
			return err
		},
		"other set": func(ctx context.Context) error {
			_, err := client.Check(ctx, &tiergatev1.CheckRequest{Question: &tiergatev1.Question{Feature: "x", Set: "api"}})
			return err
		},
	}
	for _, tc := range []struct {
		key, verb string
		code      codes.Code
		asked     string
	}{
		{"", "check", codes.Unauthenticated, ""},
		{"stolen", "consume", codes.Unauthenticated, ""},
		{"evaluates", "check", codes.OK, "check default/x by bob of acme cost 0"},
		{"evaluates", "consume", codes.PermissionDenied, ""},
		{"evaluates", "track", codes.PermissionDenied, ""},
		{"evaluates", "look", codes.PermissionDenied, ""},
		{"evaluates", "seat", codes.PermissionDenied, ""},
		{"consumes", "consume", codes.OK, "consume default/x by bob of globex cost 0"},
		{"consumes", "check", codes.OK, "check default/x by bob of globex cost 0"},
		{"consumes", "look", codes.NotFound, ""},
		{"sets", "look", codes.OK, ""},
		{"sets", "check", codes.OK, "check web/x by bob of acme cost 0"},
		{"sets", "other set", codes.PermissionDenied, ""},
		{"other", "check", codes.PermissionDenied, ""},
	} {
		g.uses = nil
		ctx := t.Context()
		if tc.key != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "x-api-key", tc.key)
		}
		if got := status.Code(verbs[tc.verb](ctx)); got != tc.code {
			t.Errorf("%s with %q: %v, want %v", tc.verb, tc.key, got, tc.code)
		}
		if asked := strings.Join(g.uses, ";"); asked != tc.asked {
			t.Errorf("%s with %q asks %q, want %q", tc.verb, tc.key, asked, tc.asked)
		}
	}
}

// Every answer tells the revision that decided, and a call may demand one.
func TestRPC_revisions(t *testing.T) {
	service, _ := rpcDoor(nil)
	client := dialRPC(t, service, nil)
	for _, tc := range []struct {
		demand string
		code   codes.Code
	}{
		{"", codes.OK},
		{"01234567-7", codes.OK},
		{"01234567-3", codes.OK},
		{"01234567-8", codes.Unavailable},
		{"76543210-1", codes.FailedPrecondition},
		{"what", codes.InvalidArgument},
	} {
		ctx := t.Context()
		if tc.demand != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "tiergate-min-revision", tc.demand)
		}
		var header metadata.MD
		_, err := client.Check(ctx, &tiergatev1.CheckRequest{Question: &tiergatev1.Question{Feature: "x"}}, grpc.Header(&header))
		if got := header.Get("tiergate-revision"); status.Code(err) != tc.code || len(got) != 1 || got[0] != "01234567-7" {
			t.Errorf("demanding %q: %v, revision %q; want %v", tc.demand, err, got, tc.code)
		}
	}
	nothing, _ := rpcDoor(func(cfg *decision.Config) { cfg.Evaluator = inForce{} })
	if _, err := nothing.Check(t.Context(), nil); status.Code(err) != codes.Unavailable {
		t.Errorf("before anything is loaded: %v", err)
	}
}

// A call that is over takes nothing more: what waits is told, and the rest of its batch is not
// begun.
func TestRPC_deadline(t *testing.T) {
	begun := make(chan string, 4)
	service, _ := rpcDoor(func(cfg *decision.Config) { cfg.Gate = waiting{begun} })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan *tiergatev1.BatchConsumeResponse, 1)
	go func() {
		item := &tiergatev1.ConsumeRequest{Question: &tiergatev1.Question{Feature: "x"}}
		r, err := service.BatchConsume(ctx, &tiergatev1.BatchConsumeRequest{Items: []*tiergatev1.ConsumeRequest{item, item, item}})
		if err != nil {
			t.Errorf("the batch: %v", err)
		}
		done <- r
	}()
	<-begun
	cancel()
	r := <-done
	if r.Results[0].GetVerdict().GetReason() != "UNAVAILABLE" {
		t.Errorf("the first item: %v", r.Results[0])
	}
	for _, it := range r.Results[1:] {
		if it.GetProblem().GetCode() != int32(codes.Canceled) {
			t.Errorf("a later item: %v", it)
		}
	}
	if len(begun) > 0 {
		t.Error("a later item was begun")
	}
	over, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err := service.Consume(over, &tiergatev1.ConsumeRequest{Question: &tiergatev1.Question{Feature: "x"}}); status.Code(err) != codes.DeadlineExceeded || len(begun) > 0 {
		t.Errorf("a call whose time is over: %v", err)
	}
}

// waiting is a gate that waits until the call is over.
type waiting struct{ begun chan string }

func (w waiting) wait(ctx context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	w.begun <- u.Flag
	<-ctx.Done()
	return tiergate.Verdict{Reason: tiergate.UseUnavailable, Resume: resume}, nil
}

func (w waiting) Check(ctx context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	return w.wait(ctx, u)
}

func (w waiting) Consume(ctx context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	return w.wait(ctx, u)
}

func (w waiting) Track(ctx context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	return w.wait(ctx, u)
}

// Each item of a batch is answered on its own, in the order of the items.
func TestRPC_batch(t *testing.T) {
	service, g := rpcDoor(nil)
	client := dialRPC(t, service, nil)
	item := func(feature string, cost int64) *tiergatev1.ConsumeRequest {
		return &tiergatev1.ConsumeRequest{Question: &tiergatev1.Question{Feature: feature}, Cost: cost}
	}
	var header metadata.MD
	r, err := client.BatchConsume(t.Context(), &tiergatev1.BatchConsumeRequest{Items: []*tiergatev1.ConsumeRequest{
		item("x", 0), item("x", -1), item("tier", 0), item("reused", 0), {}, item("broken", 0), item("exports", 2),
	}}, grpc.Header(&header))
	if err != nil {
		t.Fatal(err)
	}
	var short []string
	for _, it := range r.Results {
		if p := it.GetProblem(); p != nil {
			short = append(short, fmt.Sprintf("%v %s", codes.Code(p.Code), p.Field))
			continue
		}
		short = append(short, fmt.Sprintf("%s %v", it.GetVerdict().Feature, it.GetVerdict().Allow))
	}
	want := []string{"x true", "InvalidArgument cost", "tier false", "AlreadyExists ", "InvalidArgument question.feature", "Internal ", "exports true"}
	if diff := cmp.Diff(want, short); diff != "" || len(g.uses) != 5 || len(header.Get("tiergate-revision")) != 1 {
		t.Errorf("mismatch (-want +got):\n%s\nthe gate was asked %q", diff, g.uses)
	}
	if empty, err := client.BatchCheck(t.Context(), new(tiergatev1.BatchCheckRequest)); err != nil || len(empty.Results) > 0 {
		t.Errorf("nothing asked: %v, %v", empty, err)
	}
	many := make([]*tiergatev1.TrackRequest, decision.MaxBatch+1)
	if _, err := client.BatchTrack(t.Context(), &tiergatev1.BatchTrackRequest{Items: many}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("too many: %v", err)
	}
}

// Each item of a batch is bounded by itself: those that are fine alone are fine together.
func TestRPC_batch_bounds_each_item_by_itself(t *testing.T) {
	service, _ := rpcDoor(nil)
	client := dialRPC(t, service, nil)
	many, null := new(structpb.ListValue), structpb.NewNullValue()
	for range 40_000 {
		many.Values = append(many.Values, null)
	}
	question := &tiergatev1.Question{Feature: "x", Attributes: &structpb.Struct{Fields: map[string]*structpb.Value{"l": structpb.NewListValue(many)}}}
	req := new(tiergatev1.BatchCheckRequest)
	for range 3 {
		req.Items = append(req.Items, &tiergatev1.CheckRequest{Question: question})
	}
	answer, err := client.BatchCheck(t.Context(), req)
	if err != nil || len(answer.Results) != len(req.Items) {
		t.Fatalf("%d results, %v", len(answer.GetResults()), err)
	}
	for i, r := range answer.Results {
		if !r.GetVerdict().GetAllow() {
			t.Errorf("item %d: %v", i, r)
		}
	}
}

// What is not there at the HTTP door is not there here.
func TestRPC_without_reservations_and_gauges(t *testing.T) {
	service, _ := rpcDoor(func(cfg *decision.Config) { cfg.Gauges = nil })
	for name, err := range map[string]error{
		"Reserve": second(service.Reserve(t.Context(), nil)), "GetReservation": second(service.GetReservation(t.Context(), nil)),
		"ExtendReservation":  second(service.ExtendReservation(t.Context(), nil)),
		"CommitReservation":  second(service.CommitReservation(t.Context(), nil)),
		"ReleaseReservation": second(service.ReleaseReservation(t.Context(), nil)),
		"AddToGauge":         second(service.AddToGauge(t.Context(), nil)),
		"RemoveFromGauge":    second(service.RemoveFromGauge(t.Context(), nil)),
		"ReplaceGauge":       second(service.ReplaceGauge(t.Context(), nil)),
	} {
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
