package server_test

import (
	"context"
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tiergate/tiergate"
	evaluationv1 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	syncv1 "github.com/tiergate/tiergate/internal/wire/flagd/sync/v1"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/flagdapi"
	"github.com/tiergate/tiergate/server/flagdapi/flagsync"
	"github.com/tiergate/tiergate/server/ofrep"
)

// told answers everything, and remembers which flag set it was asked about last.
type told struct{ set string }

func (a *told) Generation() tiergate.Generation { return a }

func (a *told) Since(tiergate.Resume, tiergate.Audience) (tiergate.Difference, <-chan struct{}) {
	return tiergate.Difference{}, nil
}
func (a *told) Names(string) iter.Seq[string] { return slices.Values([]string(nil)) }

func (a *told) Export(set string) (*tiergate.FlagDocument, error) {
	a.set = strings.Clone(set)
	return &tiergate.FlagDocument{JSON: "{}"}, nil
}

func (a *told) Decide(req *tiergate.Request) tiergate.Decision {
	a.set = strings.Clone(req.Set)
	return tiergate.Decision{Flag: req.Flag, Type: tiergate.Boolean, Variant: "on", Value: json.RawMessage("true"), Reason: tiergate.ReasonStatic}
}

func (a *told) All(req *tiergate.Request) iter.Seq[tiergate.Decision] {
	a.set = strings.Clone(req.Set)
	return slices.Values([]tiergate.Decision(nil))
}
func (a *told) HasSet(string) bool                 { return false }
func (a *told) SetMetadata(string) json.RawMessage { return nil }
func (a *told) Steps(string) tiergate.ClockStep    { return tiergate.StepNever }
func (a *told) Resume() tiergate.Resume            { return tiergate.Resume{Epoch: "0123456789abcdef", Rev: 7} }

// selectingDoors are the doors that read selectors, each as what reports whether a question with one
// is answered: if not, because of the selector.
func selectingDoors(a *told) map[string]func(t *testing.T, selector string) bool {
	overHTTP := ofrep.New(ofrep.Config{Evaluator: a})
	posted := func(path string) func(*testing.T, string) bool {
		return func(t *testing.T, selector string) bool {
			var req fasthttp.Request
			req.Header.SetMethod(fasthttp.MethodPost)
			req.Header.SetRequestURI(path)
			req.Header.SetHost("localhost")
			req.Header.Set("Flagd-Selector", selector)
			var ctx fasthttp.RequestCtx
			ctx.Init(&req, nil, nil)
			overHTTP.Handle(&ctx)
			if code := ctx.Response.StatusCode(); code != 200 && code != 400 || !json.Valid(ctx.Response.Body()) {
				t.Errorf("%s with %q is answered with %d and %q", path, selector, code, ctx.Response.Body())
			}
			return ctx.Response.StatusCode() == 200
		}
	}
	called := func(call func(ctx context.Context) error) func(*testing.T, string) bool {
		return func(t *testing.T, selector string) bool {
			err := call(metadata.NewIncomingContext(t.Context(), metadata.Pairs("flagd-selector", selector)))
			refused := status.Code(err) == codes.InvalidArgument || tiergate.CodeOf(err) == tiergate.Invalid
			if err != nil && !refused {
				t.Errorf("%q over gRPC: %v", selector, err)
			}
			return err == nil
		}
	}
	overGRPC := flagdapi.Services(flagdapi.Config{Watcher: a})[0].Impl.(evaluationv1.ServiceServer)
	definitions := flagsync.New(flagsync.Config{Exporter: a}).Impl.(syncv1.FlagSyncServiceServer)
	return map[string]func(*testing.T, string) bool{
		"OFREP":            posted("/ofrep/v1/evaluate/flags/x"),
		"OFREP, all flags": posted("/ofrep/v1/evaluate/flags"),
		"gRPC": called(func(ctx context.Context) error {
			_, err := overGRPC.ResolveBoolean(ctx, &evaluationv1.ResolveBooleanRequest{FlagKey: "x"})
			return err
		}),
		"gRPC, all flags": called(func(ctx context.Context) error {
			_, err := overGRPC.ResolveAll(ctx, &evaluationv1.ResolveAllRequest{})
			return err
		}),
		"definitions": called(func(ctx context.Context) error {
			_, err := definitions.FetchAllFlags(ctx, &syncv1.FetchAllFlagsRequest{})
			return err
		}),
	}
}

// Whatever a selector is, nothing panics: it is refused, or what it says is what every door asks
// about. Each name that a set can have can be selected, and a key opens the set that it is bound to
// and no other.
func FuzzSelector(f *testing.F) {
	for _, selector := range []string{
		"", "flagSetId=default", "flagSetId=mobile", "flagSetId=", "flagSetId", "=", "=mobile", "mobile", "source=flags.json", "flags.json",
		"flagsetid=mobile", "flagSetId=mobile=web", "flagSetId==mobile", "flagSetId=mobile,source=flags.json", "source=x,flagSetId=mobile",
		" flagSetId=mobile", "flagSetId =mobile", "flagSetId= mobile", "flagSetId=größe", "flagSetId=a.b:c/d e@f~g+h-i_$", "flagSetId=\xff",
		"flagSetId=mobile\x00", "flagSetId=\"\\", "flagSetId=" + strings.Repeat("x", tiergate.MaxNameLength+1),
	} {
		f.Add(selector, "mobile")
	}
	asked := &told{}
	doors := selectingDoors(asked)
	f.Fuzz(func(t *testing.T, selector, bound string) {
		named, err := server.Selected(selector)
		name, selects := strings.CutPrefix(selector, "flagSetId=")
		says := name
		if selects && name == "" {
			says = tiergate.DefaultSet
		}
		switch {
		case err != nil && tiergate.CodeOf(err) != tiergate.Invalid:
			t.Fatalf("%q is refused with %v", selector, err)
		case err != nil && (selector == "" || selects && tiergate.ValidName("set", says) == nil):
			t.Fatalf("%q is refused, and can be meant: %v", selector, err)
		case err == nil && selector != "" && (!selects || named != says || tiergate.ValidName("set", named) != nil), err == nil && selector == "" && named != "":
			t.Fatalf("%q selects %q", selector, named)
		}
		if again, err := server.Selected("flagSetId=" + bound); tiergate.ValidName("set", bound) == nil && (again != bound || err != nil) {
			t.Fatalf("the set %q cannot be selected: %q, %v", bound, again, err)
		}
		if err == nil && bound != "" {
			got, denied := server.SetFor(named, &tiergate.Key{Sets: []string{bound}})
			if mine := named == "" || named == bound; mine != (denied == nil) || mine && got != bound || !mine && tiergate.CodeOf(denied) != tiergate.Forbidden {
				t.Fatalf("%q with a key of %q is %q, %v", selector, bound, got, denied)
			}
		}
		if strings.ContainsAny(selector, "\r\n") {
			return // it is no header
		}
		want, _ := server.SetFor(named, nil)
		for name, answers := range doors {
			asked.set = ""
			if answered := answers(t, selector); answered != (err == nil) || answered && asked.set != want {
				t.Errorf("over %s %q is answered: %v, about %q; want %q, %v", name, selector, answered, asked.set, want, err)
			}
		}
	})
}
