package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/isolated"
	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/clientstest"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/internal/porttest"
	"github.com/tiergate/tiergate/postgres"
	goprovider "github.com/tiergate/tiergate/provider"
	"github.com/tiergate/tiergate/provider/sidecar"
)

// An asker asks one door a case.
type asker func(*testing.T, conformance.KindCase) conformance.KindAnswer

// One database, every door: each type, each reason and each error is said alike, or as the table
// says of that door.
func TestSidecar_answers_alike_through_every_door(t *testing.T) {
	url, sync := seeded(t, conformance.Kinds()...).url(), porttest.Addr(t)
	p := launchOn(t, onGRPC(t), dataDir(t), "sidecar", "--source", url, "--sync-addr", sync)
	p.waitReady(t)
	conn := dialGRPC(t, p.grpc, insecure.NewCredentials())
	asking, err := sidecar.New("http://"+p.http, sidecar.Options{MaxEntries: -1})
	if err != nil {
		t.Fatal(err)
	}
	node := clientstest.Connect(t, clientstest.FlagdInProcess, clientstest.Addrs{HTTP: p.http, GRPC: p.grpc, Sync: sync})
	for _, d := range []struct {
		name string
		door conformance.Door
		ask  asker
	}{
		{"engine", conformance.Engine, decided(running(t, url).engine)},
		{"command line", conformance.CommandLine, printed(url)},
		{"OFREP", conformance.OFREP, p.overOFREP},
		{"gRPC v1", conformance.FlagdV1, overGRPC(conn, "v1")},
		{"gRPC v2", conformance.FlagdV2, overGRPC(conn, "v2")},
		{"Connect v1", conformance.FlagdV1, p.overConnect("v1")},
		{"Connect v2", conformance.FlagdV2, p.overConnect("v2")},
		{"Go in process", conformance.GoInProcess, throughSDK(t, goprovider.InProcess(postgres.NewFeed(postgres.Config{URL: url}), goprovider.Options{}))},
		{"Go from a stream", conformance.GoStream, throughSDK(t, goprovider.InProcess(goprovider.SyncStream(sync, goprovider.StreamOptions{}), goprovider.Options{}))},
		{"Go asking a sidecar", conformance.GoSidecar, throughSDK(t, asking)},
		{"npm in process", conformance.NPMInProcess, throughNode(node)},
	} {
		t.Run(d.name, func(t *testing.T) { conformance.RunKinds(t, d.door, d.ask) })
	}
}

// decided asks the engine, which is told the user and the team beside the context.
func decided(e tiergate.Evaluator) asker {
	return func(t *testing.T, c conformance.KindCase) conformance.KindAnswer {
		attributes, err := jsonvalue.Parse([]byte(jsonOf(t, c.Context)))
		if err != nil {
			t.Fatal(err)
		}
		d := e.Generation().Decide(&tiergate.Request{
			Flag: c.Flag, UserID: attributes.Field("targetingKey").Text(), Attributes: attributes, Now: time.Now(),
		})
		a := conformance.KindAnswer{Variant: d.Variant, Reason: string(d.Reason), ErrorCode: string(d.ErrorCode)}
		if d.Value != nil {
			if err := json.Unmarshal(d.Value, &a.Value); err != nil {
				t.Fatal(err)
			}
		}
		return a
	}
}

// printed asks on the command line, which fails when there is no decision.
func printed(url string) asker {
	return func(t *testing.T, c conformance.KindCase) (a conformance.KindAnswer) {
		out, code := command(t, "eval", c.Flag, "--source", url, "--context", jsonOf(t, c.Context), "--log-level", "error")
		if out != "" {
			if err := json.Unmarshal([]byte(out), &a); err != nil {
				t.Fatalf("the answer %q: %v", out, err)
			}
		}
		if failed := out == "" || a.ErrorCode != ""; (code != 0) != failed {
			t.Errorf("the exit code is %d", code)
		}
		return a
	}
}

func (p *program) overOFREP(t *testing.T, c conformance.KindCase) conformance.KindAnswer {
	status, got := p.ask(t, c.Flag, c.Context)
	a := conformance.KindAnswer{
		Value: got["value"], Variant: value(got, "variant"), Reason: value(got, "reason"), ErrorCode: value(got, "errorCode"),
	}
	if (status != 200) != (a.ErrorCode != "") {
		t.Errorf("the status is %d", status)
	}
	if a.ErrorCode != "" {
		a.Reason = "ERROR" // which an error does not carry
	}
	return a
}

// flagdMethods are those of flagd's service, by what they ask for.
var flagdMethods = map[string]string{
	"boolean": "ResolveBoolean", "string": "ResolveString", "integer": "ResolveInt", "float": "ResolveFloat", "object": "ResolveObject",
}

// overGRPC asks by messages that are the protocol's JSON, read.
func overGRPC(conn *grpc.ClientConn, version string) asker {
	return func(t *testing.T, c conformance.KindCase) conformance.KindAnswer {
		service, method := "flagd.evaluation."+version, flagdMethods[c.As]
		req, resp := message(t, service+"."+method+"Request"), message(t, service+"."+method+"Response")
		if err := protojson.Unmarshal([]byte(jsonOf(t, map[string]any{"flagKey": c.Flag, "context": c.Context})), req); err != nil {
			t.Fatal(err)
		}
		if err := conn.Invoke(t.Context(), "/"+service+".Service/"+method, req, resp); err != nil {
			return conformance.KindAnswer{Reason: "ERROR", ErrorCode: rpccode.Code(grpcstatus.Code(err)).String()}
		}
		text, err := protojson.MarshalOptions{EmitUnpopulated: version == "v1"}.Marshal(resp)
		if err != nil {
			t.Fatal(err)
		}
		var answer map[string]any
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatal(err)
		}
		return resolved(t, c, answer)
	}
}

func message(t *testing.T, name string) proto.Message {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatal(err)
	}
	return kind.New().Interface()
}

func (p *program) overConnect(version string) asker {
	return func(t *testing.T, c conformance.KindCase) conformance.KindAnswer {
		body := jsonOf(t, map[string]any{"flagKey": c.Flag, "context": c.Context})
		url := p.url(p.grpc, "/flagd.evaluation."+version+".Service/"+flagdMethods[c.As])
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		status, answer := p.do(t, req, "Content-Type", "application/json")
		if status != 200 {
			return conformance.KindAnswer{Reason: "ERROR", ErrorCode: strings.ToUpper(value(answer, "code"))}
		}
		return resolved(t, c, answer)
	}
}

// resolved reads an answer in the JSON of flagd's protocol, where an integer is a text.
func resolved(t *testing.T, c conformance.KindCase, answer map[string]any) conformance.KindAnswer {
	t.Helper()
	a := conformance.KindAnswer{Value: answer["value"], Variant: value(answer, "variant"), Reason: value(answer, "reason")}
	if digits, ok := a.Value.(string); ok && c.As == "integer" {
		number, err := strconv.ParseFloat(digits, 64)
		if err != nil {
			t.Error(err)
		}
		a.Value = number
	}
	return a
}

// throughSDK asks a provider for Go until the test ends.
func throughSDK(t *testing.T, p openfeature.FeatureProvider) asker {
	t.Helper()
	api := isolated.NewAPI()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := api.SetProviderAndWait(ctx, p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := api.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	client := api.NewClient()
	return func(t *testing.T, c conformance.KindCase) conformance.KindAnswer {
		about := openfeature.NewEvaluationContext("", c.Context)
		var values [2]any
		var d openfeature.EvaluationDetails
		for i := range values { // with two code defaults
			switch c.As {
			case "boolean":
				r, _ := client.BooleanValueDetails(t.Context(), c.Flag, i == 0, about)
				values[i], d = r.Value, r.EvaluationDetails
			case "string":
				r, _ := client.StringValueDetails(t.Context(), c.Flag, "mine "+strconv.Itoa(i), about)
				values[i], d = r.Value, r.EvaluationDetails
			case "integer":
				r, _ := client.IntValueDetails(t.Context(), c.Flag, int64(-1-i), about)
				values[i], d = float64(r.Value), r.EvaluationDetails
			case "float":
				r, _ := client.FloatValueDetails(t.Context(), c.Flag, float64(-1-i), about)
				values[i], d = r.Value, r.EvaluationDetails
			case "object":
				r, _ := client.ObjectValueDetails(t.Context(), c.Flag, i, about)
				values[i], d = r.Value, r.EvaluationDetails
			}
		}
		return conformance.KindAnswer{Value: notMine(values), Variant: d.Variant, Reason: string(d.Reason), ErrorCode: string(d.ErrorCode)}
	}
}

// throughNode asks a provider for JavaScript.
func throughNode(client *clientstest.Client) asker {
	mine := map[string][2]any{
		"boolean": {true, false}, "string": {"mine 0", "mine 1"}, "number": {-1, -2},
		"object": {map[string]any{"mine": 0}, map[string]any{"mine": 1}},
	}
	return func(t *testing.T, c conformance.KindCase) conformance.KindAnswer {
		kind := c.As
		if kind == "integer" || kind == "float" {
			kind = "number"
		}
		var values [2]any
		var a clientstest.Answer
		for i, fallback := range mine[kind] {
			a = client.In(t).Ask(clientstest.Question{Type: kind, Flag: c.Flag, Fallback: fallback, Context: c.Context})
			values[i] = a.Value
		}
		return conformance.KindAnswer{Value: notMine(values), Variant: a.Variant, Reason: a.Reason, ErrorCode: a.ErrorCode}
	}
}

// notMine is the value that two questions with different code defaults have in common, nil
// when each got its own.
func notMine(values [2]any) any {
	if cmp.Equal(values[0], values[1]) {
		return values[0]
	}
	return nil
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
