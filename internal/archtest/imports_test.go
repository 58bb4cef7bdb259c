package archtest_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tiergate/tiergate"

// rooms says which rooms a room may import, besides the root package and its own
// sub-packages. A room that is not listed here may not exist.
var rooms = map[string]struct {
	may []string
	why string
}{
	"":                     {nil, "the words: standard library only, so that everybody can import them"},
	"cmd/tiergate":         {[]string{"*"}, "the only place where rooms meet"},
	"evaluator":            {[]string{"snapshot", "policy", "quota", "evaluator/targeting", "internal/jsonvalue", "internal/pmap"}, "the heart decides from memory: no storage, no transport"},
	"evaluator/targeting":  {[]string{"internal/jsonvalue"}, "targeting is a pure function of a rule and a context"},
	"policy":               {[]string{"rego", "internal/jsonvalue"}, "policy knows OPA; it knows no storage and no snapshot"},
	"quota":                {[]string{"quota/spool"}, "quota is a leaf: it counts, and knows neither policy nor snapshot"},
	"quota/spool":          {nil, "a log of bytes: it knows neither quotas nor ledgers"},
	"rego":                 {nil, "the built-in Rego text"},
	"snapshot":             {[]string{"internal/pmap", "internal/jsonvalue"}, "snapshot is a leaf: it knows neither policy nor quota"},
	"sync":                 {[]string{"internal/backoff", "internal/flagd", "internal/jsonvalue"}, "syncer knows only the Source and Applier interfaces, and flag files"},
	"postgres":             {[]string{"migrations", "internal/jsonvalue"}, "postgres is a keeper: it satisfies root interfaces"},
	"migrations":           {nil, "the schema as SQL"},
	"server/rpc":           {[]string{"server", "internal/listen"}, "the listener of all gRPC doors: it knows no service"},
	"server/flagdapi":      {[]string{"server", "server/rpc", "internal/backoff", "internal/jsonvalue", "internal/structvalue", "internal/wire"}, "doors know root interfaces only"},
	"provider":             {[]string{"evaluator", "sync", "internal/flagd", "internal/jsonvalue", "provider/internal/sdk", "provider/sidecar"}, "what other programs link: it embeds the heart, or asks a sidecar, and links no generated protocol code"},
	"internal/wire":        {nil, "generated messages of the gRPC protocols"},
	"server":               {[]string{"internal/jsonvalue", "internal/listen"}, "doors know root interfaces only, so that a ten-line fake tests them"},
	"server/ofrep":         {[]string{"server", "internal/jsonvalue", "internal/listen"}, "doors know root interfaces only"},
	"server/decision":      {[]string{"server", "server/rpc", "internal/jsonvalue", "internal/listen", "internal/structvalue", "internal/wire"}, "doors know root interfaces only"},
	"server/ops":           {[]string{"server", "internal/jsonvalue", "internal/listen"}, "doors know root interfaces only"},
	"client":               {[]string{"internal/sidecarhttp"}, "what other programs link: the words and the standard library"},
	"client/fibergate":     {[]string{"client"}, "the part of the client that links Fiber"},
	"examples":             {[]string{"client", "client/fibergate"}, "what a stranger would write, who sees the client only"},
	"admin":                {[]string{"internal/jsonvalue", "internal/listen"}, "doors know root interfaces only"},
	"internal/archtest":    {nil, "a test"},
	"internal/backoff":     {nil, "how long to wait"},
	"internal/conformance": {[]string{"internal/demo"}, "cases are data; whoever runs them brings the door"},
	"internal/demo":        {nil, "data in the words of the product"},
	"internal/faultproxy":  {nil, "breaks connections in tests, and speaks no SQL"},
	"internal/flagd":       {[]string{"internal/jsonvalue"}, "reading flag files needs the words only"},
	"internal/jsonvalue":   {nil, "JSON text to Values and back"},
	"internal/structvalue": {[]string{"internal/jsonvalue"}, "protobuf's JSON values to Values and back"},
	"internal/listen":      {nil, "listeners need the standard library and Fiber's middleware type"},
	"internal/localpg":     {nil, "starts a Postgres and speaks no SQL"},
	"internal/pmap":        {nil, "a data structure"},
	"internal/sidecarhttp": {nil, "net/http for who asks a sidecar"},
	"tools":                {nil, "lint tools"},

	"provider/internal/sdk": {[]string{"internal/backoff", "internal/jsonvalue"}, "what the providers say to the SDK: it decides nothing"},
	"provider/sidecar":      {[]string{"internal/backoff", "internal/jsonvalue", "internal/sidecarhttp", "provider/internal/sdk"}, "a program that asks a sidecar links the SDK and net/http, neither OPA nor gRPC"},
}

// homes says where a dependency may be imported: one dependency, one home.
var homes = map[string][]string{
	"github.com/open-policy-agent/opa": {"policy", "rego"},
	"github.com/hashicorp/go-memdb":    {"snapshot"},
	"github.com/jackc/pgx":             {"postgres"},
	"github.com/pressly/goose":         {"postgres", "migrations"},
	"github.com/fsnotify/fsnotify":     {"sync"},
	"github.com/gofiber/fiber":         {"server", "admin", "internal/listen", "client/fibergate", "examples"},
	"github.com/valyala/fasthttp":      {"server", "admin", "internal/listen"},
	"github.com/valyala/fastjson":      {"internal/jsonvalue"},
	"github.com/danielgtaylor/huma":    {"admin"},
	"github.com/alecthomas/kong":       {"cmd/tiergate"},
	"github.com/prometheus":            {"server", "cmd/tiergate"},
	"github.com/goccy/go-yaml":         {"internal/flagd", "sync", "cmd/tiergate"},
	"github.com/twmb/murmur3":          {"evaluator/targeting"},
	"github.com/google/uuid":           {"quota"},
	"google.golang.org/grpc":           {"server/rpc", "server/flagdapi", "server/decision", "internal/wire", "provider"},
	"google.golang.org/protobuf":       {"server/rpc", "server/flagdapi", "server/decision", "internal/structvalue", "internal/wire", "provider"},
	"google.golang.org/genproto":       {"server/rpc", "server/decision"},
	"connectrpc.com":                   {"server/rpc"},
	"github.com/open-feature/go-sdk":   {"provider"},
}

type listed struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

func list(t *testing.T) []listed {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// roomOf returns the longest listed room that holds a package path below the module.
func roomOf(path string) (string, bool) {
	for {
		if _, ok := rooms[path]; ok {
			return path, path != ""
		}
		cut := strings.LastIndexByte(path, '/')
		if cut < 0 {
			return "", false
		}
		path = path[:cut]
	}
}

func inside(path, room string) bool { return path == room || strings.HasPrefix(path, room+"/") }

// Each room imports only the rooms that the map allows, and the words only the standard library.
func TestRooms_import_only_what_the_map_allows(t *testing.T) {
	for _, p := range list(t) {
		path := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if strings.HasSuffix(path, "test") || strings.Contains(path, "test/") {
			continue // test support may reach further
		}
		room, ok := roomOf(path)
		if !ok && path != "" {
			t.Errorf("package %s is in no room of the map: add it with its reason", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			checkImport(t, p.ImportPath, room, imported)
		}
	}
}

func checkImport(t *testing.T, from, room, imported string) {
	t.Helper()
	rule := rooms[room]
	target, ours := strings.CutPrefix(imported, module+"/")
	switch {
	case imported == module:
	case !ours && room == "" && strings.Contains(strings.Split(imported, "/")[0], "."):
		t.Errorf("%s imports %s: %s", from, imported, rule.why)
	case ours:
		to, _ := roomOf(target)
		if to != room && !slices.Contains(rule.may, "*") && !slices.Contains(rule.may, to) {
			t.Errorf("%s imports %s: %s", from, imported, rule.why)
		}
	}
}

// One dependency has one home, so that replacing it is one room's work.
func TestDependencies_stay_at_home(t *testing.T) {
	for _, p := range list(t) {
		path := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, imported := range p.Imports {
			for dep, allowed := range homes {
				if !inside(imported, dep) {
					continue
				}
				if !slices.ContainsFunc(allowed, func(h string) bool { return inside(path, h) }) {
					t.Errorf("%s imports %s, whose home is %s", p.ImportPath, imported, strings.Join(allowed, ", "))
				}
			}
		}
	}
}
