package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate/postgres/pgtest"
)

// flagFiles are files as people write them for flagd; that they answer as flagd-core does
// is shown beside them.
const flagFiles = "../../internal/flagd/testdata/files/"

// shoppers are evaluation contexts as the files' rules ask for.
var shoppers = map[string]string{
	"nobody": `{}`,
	"ann":    `{"targetingKey": "ann", "email": "ann@shop.example", "country": "NL", "locale": "nl-NL", "app": {"version": "1.9.3"}}`,
	"bob":    `{"targetingKey": "bob", "email": "bob@mail.example", "locale": "nl", "app": {"version": "3.0.0"}, "orders": [{"total": 15}, {"total": 90.5}], "basket": {"total": 60}}`,
	"eve":    `{"targetingKey": "eve", "country": "BE", "app": {"version": "2.4.0-dev"}, "orders": [], "basket": {"total": 20}}`,
	"tess":   `{"targetingKey": "tess", "email": null, "country": 31, "app": "1.0.0", "orders": {"total": 1}}`,
}

// Flag files that are imported into a database, and the same files in a folder, give the
// same answers, and those that the files mean.
func TestFlagFiles(t *testing.T) {
	d := seeded(t)
	imported := launch(t, dataDir(t), "sidecar", "--source", d.url())
	for file, want := range map[string]string{"shop.flagd.json": "17 flags imported, 0 left out, revision ", "drills.flagd.yaml": "4 flags imported, 0 left out, revision "} {
		if out, code := command(t, "import", "flagd", flagFiles+file, "--database", d.url()); code != 0 || !strings.HasPrefix(out, want) {
			t.Fatalf("import %s: exit code %d: %s", file, code, out)
		}
	}
	folder := launch(t, dataDir(t), "sidecar", "--source", "file:"+flagFiles)
	folder.waitReady(t)
	imported.waitReady(t)
	imported.eventually(t, "all is imported", func() bool {
		shop, _ := imported.ask(t, "loyal", nil)
		drills, _ := imported.ask(t, "full-disk", nil, "Flagd-Selector", "flagSetId=drills")
		return shop == 200 && drills == 200
	})
	if status := folder.get("/status"); !strings.Contains(status, `"quarantined":[]`) || !strings.Contains(status, `"problems":[]`) {
		t.Errorf("the status is %s", status)
	}
	for flag, wants := range map[string]map[string]string{
		"gift-wrap":          {"nobody": "on true STATIC"},
		"greeting":           {"nobody": `warm "Héllo, \"you\" 👋" STATIC`},
		"basket-size":        {"nobody": "25 25 STATIC"},
		"discount":           {"nobody": "10% 0.1 STATIC"},
		"banner":             {"nobody": `summer {"colors":["#fd0","#f80"],"size":{"h":80,"w":640},"title":"Sun"} STATIC`},
		"old-checkout":       {"nobody": " null DISABLED", "ann": " null DISABLED"},
		"from-code":          {"nobody": " null DEFAULT"},
		"from-code-too":      {"nobody": " null DEFAULT", "ann": `a "A" TARGETING_MATCH`, "eve": `a "A" TARGETING_MATCH`, "tess": " null DEFAULT"},
		"no-rule":            {"nobody": "off false STATIC"},
		"express":            {"nobody": "off false TARGETING_MATCH", "ann": "on true TARGETING_MATCH"},
		"shipping":           {"nobody": "usual 6 DEFAULT", "bob": "free 0 TARGETING_MATCH", "eve": "cheap 3.5 TARGETING_MATCH"},
		"search":             {"ann": `trial "v3" TARGETING_MATCH`},
		"button":             {},
		"layout":             {},
		"app":                {"nobody": `fine "fine" DEFAULT`, "ann": `update "update" TARGETING_MATCH`, "bob": `beta "beta" TARGETING_MATCH`, "eve": `beta "beta" TARGETING_MATCH`},
		"new-year":           {"nobody": "on true TARGETING_MATCH"},
		"loyal":              {"nobody": "off false TARGETING_MATCH", "bob": "on true TARGETING_MATCH"},
		"drills/slow-search": {"nobody": "off 0 STATIC"},
		"drills/lost-mail":   {"nobody": "off 0 DEFAULT", "tess": "100% 1 TARGETING_MATCH"},
		"drills/lost-orders": {"nobody": "10% 0.1 STATIC"},
		"drills/full-disk":   {"nobody": " null DISABLED"},
	} {
		for who := range shoppers {
			got := folder.shop(t, flag, who)
			if want, ok := wants[who]; ok && got != want {
				t.Errorf("from the folder %s for %s is %s, want %s", flag, who, got, want)
			}
			if diff := cmp.Diff(got, imported.shop(t, flag, who)); diff != "" {
				t.Errorf("%s for %s, from the folder (-) and imported (+):\n%s", flag, who, diff)
			}
		}
	}
}

// shop asks for a flag, of the set before its slash, as one of the shoppers.
func (p *program) shop(t *testing.T, flag, who string) string {
	t.Helper()
	var header []string
	if set, name, ok := strings.Cut(flag, "/"); ok {
		flag, header = name, []string{"Flagd-Selector", "flagSetId=" + set}
	}
	status, got := p.ask(t, flag, json.RawMessage(shoppers[who]), header...)
	text, err := json.Marshal(got["value"])
	if err != nil {
		t.Fatal(err)
	}
	if status != 200 {
		return fmt.Sprint(status, " ", value(got, "errorCode"))
	}
	return value(got, "variant") + " " + string(text) + " " + value(got, "reason")
}

// Of a file with bad flags the good ones are served and imported; each bad one is named, in
// the status and the metrics or by the command, with what is wrong with it.
func TestFlagFiles_with_bad_flags(t *testing.T) {
	const file = `{"flags": {
		"good": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"},
		"stateless": {"variants": {"on": true}, "defaultVariant": "on"},
		"mistyped": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "onn"},
		"mixed": {"state": "ENABLED", "variants": {"on": true, "off": 0}, "defaultVariant": "on"},
		"better": {"state": "ENABLED", "variants": {"a": 1, "b": 2}, "defaultVariant": "b"}
	}}`
	dir := t.TempDir()
	path := save(t, dir, "flags.json", []byte(file))
	bad := map[string]string{"stateless": "state is ENABLED or DISABLED", "mistyped": `"onn"`, "mixed": "type"}

	p := launch(t, dataDir(t), "sidecar", "--source", "file:"+dir)
	p.waitReady(t)
	for flag, want := range map[string]string{"good": "on", "better": "b"} {
		if _, got := p.ask(t, flag, nil); value(got, "variant") != want {
			t.Errorf("%s is %v", flag, got)
		}
	}
	var status struct {
		Quarantined []struct{ Set, Flag, Error string }
		Problems    []string
	}
	if err := json.Unmarshal([]byte(p.get("/status")), &status); err != nil {
		t.Fatal(err)
	}
	if len(status.Quarantined) != len(bad) || len(status.Problems) != len(bad) {
		t.Errorf("the status is %+v", status)
	}
	for _, q := range status.Quarantined {
		if q.Set != "default" || bad[q.Flag] == "" || !strings.Contains(q.Error, bad[q.Flag]) {
			t.Errorf("quarantined is %+v", q)
		}
	}
	metrics := p.get("/metrics")
	for flag := range bad {
		if code, got := p.ask(t, flag, nil); code != 400 || value(got, "errorCode") != "PARSE_ERROR" {
			t.Errorf("%s is answered with %d: %v", flag, code, got)
		}
		if !strings.Contains(metrics, `tiergate_evaluator_quarantined_flag{flag="`+flag+`",set="default"} 1`) {
			t.Errorf("the metrics do not name %s", flag)
		}
	}

	d := seeded(t)
	said, code := commandWithErr(t, "import", "flagd", path, "--database", d.url(), "--dry-run")
	if code != 0 {
		t.Errorf("exit code %d: %s", code, said)
	}
	for flag, why := range bad {
		if line := `left out "` + flag + `": `; !strings.Contains(said, line) || !strings.Contains(said, why) {
			t.Errorf("the import does not say %q and %s: %s", line, why, said)
		}
	}
}

// A sidecar follows its folder, however its files are changed.
func TestSidecar_follows_its_folder(t *testing.T) {
	dir := t.TempDir()
	flags := func(variant string, more ...string) []byte {
		return fmt.Appendf(nil, `{"flags": {"theme": {"state": "ENABLED", "variants": {"a": 1, "b": 2, "c": 3}, "defaultVariant": %q}%s}}`, variant, strings.Join(more, ""))
	}
	file := save(t, dir, "flags.json", flags("a"))
	save(t, dir, "other.json", []byte(`{"flags": {"other": {"state": "ENABLED", "variants": {"a": 1}, "defaultVariant": "a"}}}`))
	p := launch(t, dataDir(t), "sidecar", "--source", "file:"+dir)
	p.waitReady(t)
	becomes := func(what, want string) {
		t.Helper()
		p.eventually(t, what, func() bool { _, got := p.ask(t, "theme", nil); return value(got, "variant") == want })
	}
	becomes("it serves", "a")

	if err := os.Rename(save(t, dir, ".flags.json.swp", flags("b")), file); err != nil {
		t.Fatal(err)
	}
	becomes("an editor's rename is in force", "b")

	whole := flags("c")
	save(t, dir, "flags.json", whole[:len(whole)-9])
	p.eventually(t, "the half-written file is named", func() bool {
		return strings.Contains(p.get("/status"), "flags.json: not JSON at row 1, column ")
	})
	becomes("its last good content serves", "b")
	save(t, dir, "flags.json", whole)
	becomes("the whole file is in force", "c")
	p.eventually(t, "nothing is wrong any more", func() bool { return strings.Contains(p.get("/status"), `"problems":[]`) })

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	p.eventually(t, "the flag of a deleted file is gone", func() bool {
		status, got := p.ask(t, "theme", nil)
		return status == 404 && value(got, "errorCode") == "FLAG_NOT_FOUND"
	})
	if _, got := p.ask(t, "other", nil); value(got, "variant") != "a" {
		t.Errorf("the other file's flag is %v", got)
	}

	for _, version := range []string{"a", "b"} { // as Kubernetes mounts a ConfigMap
		mount(t, dir, version, flags(version))
		becomes("a swap of the data link is in force", version)
	}
}

// mount puts a version of flags.json behind the folder's ..data link.
func mount(t *testing.T, dir, version string, text []byte) {
	t.Helper()
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "..v"+version), 0o755); err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(dir, "..v"+version), "flags.json", text)
	link("..v"+version, "..data_tmp")
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "flags.json")); err != nil {
		link("..data/flags.json", "flags.json")
	}
}

// An import says whether it was one: of a dry run, and of what is there already, nothing is
// in a revision.
func TestFlagFiles_imported_again(t *testing.T) {
	d := seeded(t)
	path := save(t, t.TempDir(), "flags.json", []byte(`{"flags": {
		"good": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"},
		"better": {"state": "ENABLED", "variants": {"a": 1, "b": 2}, "defaultVariant": "b"},
		"bad": {"variants": {"on": true}, "defaultVariant": "on"}
	}}`))
	for _, c := range []struct {
		says string
		more []string
	}{
		{"2 flags could be imported, 1 left out\n", []string{"--dry-run"}},
		{"2 flags imported, 1 left out, revision ", nil},
		{"2 flags imported, 1 left out, nothing was new\n", nil},
	} {
		if out, code := command(t, append([]string{"import", "flagd", path, "--database", d.url()}, c.more...)...); code != 0 || !strings.HasPrefix(out, c.says) {
			t.Errorf("with %q the exit code is %d, and what is said is %q, want %q", c.more, code, out, c.says)
		}
	}
}

// A file that is imported into a set beside another one leaves the other's flags as they
// were: the rules that they share, and what the set says of itself.
func TestFlagFiles_imported_into_one_set(t *testing.T) {
	d := seeded(t)
	dir := t.TempDir()
	for name, file := range map[string]string{
		"first": `{"metadata": {"owner": "shop", "version": 1}, "$evaluators": {"friends": {"in": ["@friend.example", {"var": "email"}]}}, "flags": {
			"party": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
				"targeting": {"if": [{"$ref": "friends"}, "on", "off"]}}}}`,
		"second": `{"metadata": {"version": 2}, "$evaluators": {"abroad": {"!=": [{"var": "country"}, "NL"]}}, "flags": {
			"customs": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
				"targeting": {"if": [{"$ref": "abroad"}, "on", "off"]}}}}`,
		"third": `{"flags": {"plain": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"}}}`,
	} {
		save(t, dir, name+".json", []byte(file))
	}
	for _, name := range []string{"first", "second", "third"} {
		if out, code := command(t, "import", "flagd", filepath.Join(dir, name+".json"), "--database", d.url()); code != 0 {
			t.Fatalf("import %s: exit code %d: %s", name, code, out)
		}
	}
	for _, flag := range []string{"party", "customs", "plain"} {
		out, code := command(t, "eval", flag, "--context", `{"email": "ann@friend.example", "country": "BE"}`, "--source", d.url())
		if code != 0 || !strings.Contains(out, `"variant":"on"`) {
			t.Errorf("%s: exit code %d: %s", flag, code, out)
		}
	}
	var shared string
	row := pgtest.Connect(t, d.url()).QueryRow(t.Context(), "select metadata::text || fractional from flag_sets where name = 'default'")
	if err := row.Scan(&shared); err != nil {
		t.Fatal(err)
	}
	if want := `{"owner": "shop", "version": 2}v2`; shared != want {
		t.Errorf("the set is %s, want %s", shared, want)
	}
}

// A restart with a policy that cannot be read serves what was known before, and never
// without the policy; without anything known there is nothing to serve.
func TestSidecar_restarts_with_a_broken_folder(t *testing.T) {
	dir, data := t.TempDir(), dataDir(t)
	save(t, dir, "flags.json", []byte(`{"flags": {"theme": {"state": "ENABLED", "variants": {"a": 1, "b": 2}, "defaultVariant": "a"}}}`))
	policy := []byte(`package tiergate.access

default decision := {"allow": true, "reason": "anybody"}

decision := {"allow": false, "reason": "barred"} if input.subject.user.id == "mallory"
`)
	save(t, dir, "access.rego", policy)
	barred := func(p *program) bool {
		_, got := p.ask(t, "theme", map[string]any{"targetingKey": "mallory"})
		return value(got, "metadata", "denyReason") == "barred"
	}
	p := launch(t, data, "sidecar", "--source", "file:"+dir)
	p.waitReady(t)
	if !barred(p) {
		t.Error("mallory is let in")
	}
	p.stop(t, syscall.SIGTERM)

	save(t, dir, "access.rego", []byte("package broken {"))
	p = launch(t, data, "sidecar", "--source", "file:"+dir)
	p.eventually(t, "the last-known-good state is in force, and the reason is told", func() bool {
		status := p.get("/status")
		return strings.Contains(status, "last-known-good") && strings.Contains(status, "access.rego:1:")
	})
	if !barred(p) {
		t.Error("mallory is let in")
	}
	save(t, dir, "access.rego", policy)
	p.eventually(t, "the mended folder is in force", func() bool { return strings.Contains(p.get("/status"), `"problems":[]`) })
	if !barred(p) {
		t.Error("mallory is let in")
	}
	p.stop(t, syscall.SIGTERM)

	save(t, dir, "access.rego", []byte("package broken {"))
	p = launch(t, dataDir(t), "sidecar", "--source", "file:"+dir)
	p.eventually(t, "the broken policy is named", func() bool { return strings.Contains(p.get("/status"), "access.rego:1:") })
	if status, got := p.ask(t, "theme", nil); status != 503 || value(got, "errorCode") != "PROVIDER_NOT_READY" {
		t.Errorf("without anything known the answer is %d: %v", status, got)
	}
	save(t, dir, "access.rego", policy)
	p.waitReady(t)
	if !barred(p) {
		t.Error("mallory is let in")
	}
}
