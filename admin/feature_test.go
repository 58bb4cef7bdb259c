package admin_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/admin"
)

// A feature is made, found, read, replaced, patched and deleted, each with its versions.
func TestFeatures_full_life(t *testing.T) {
	w := newWorld(t)
	const one = "/api/features/id-1"
	run(t, admin.New(w.config), []exchange{
		{
			name: "only a name makes a boolean feature that nobody gets", method: "POST", path: "/api/features",
			body: `{"name":"new-dashboard"}`, status: 201,
			want: map[string]any{
				"set": "default", "type": "boolean", "enabled": false, "variants": map[string]any{"on": true, "off": false},
				"defaultVariant": "on", "offVariant": "off", "version": 1,
				"rules": map[string]any{"tiers": []any{}, "percentage": 0},
			},
			headers: map[string]string{"Location": one, "ETag": `"1"`, "Tiergate-Revision": "01234567-1"},
		},
		{name: "the name is taken", method: "POST", path: "/api/features", body: `{"name":"new-dashboard"}`, status: 409, want: map[string]any{"code": "conflict"}},
		{name: "find by name", path: "/api/features?set=default&name=new-dashboard", status: 200, want: map[string]any{"items.0.id": "id-1", "nextPageToken": nil}},
		{name: "find nothing", path: "/api/features?name=other", status: 200, want: map[string]any{"items": []any{}}},
		{name: "read", path: one, status: 200, headers: map[string]string{"ETag": `"1"`, "Cache-Control": "private, no-cache"}, want: map[string]any{"name": "new-dashboard"}},
		{name: "read what we have", path: one, header: map[string]string{"If-None-Match": `"7", W/"1"`}, status: 304, headers: map[string]string{"ETag": `"1"`}},
		{name: "head", method: "HEAD", path: one, status: 200, headers: map[string]string{"ETag": `"1"`}},
		{
			name: "rules without a percentage mean everybody", method: "PUT", path: one,
			header: map[string]string{"If-Match": `"1"`},
			body:   `{"name":"new-dashboard","enabled":true,"title":"New","rules":{"tiers":["pro"]}}`, status: 200,
			want:    map[string]any{"version": 2, "title": "New", "enabled": true, "type": "boolean", "set": "default", "rules": map[string]any{"tiers": []any{"pro"}, "percentage": 100}},
			headers: map[string]string{"ETag": `"2"`},
		},
		{name: "somebody was faster", method: "PUT", path: one, header: map[string]string{"If-Match": `"1"`}, body: `{"name":"x","enabled":true,"rules":{}}`, status: 412, want: map[string]any{"code": "stale"}},
		{
			name: "patch one number", method: "PATCH", path: one, header: map[string]string{"Content-Type": "application/merge-patch+json"},
			body: `{"rules":{"percentage":12.5}}`, status: 200,
			want: map[string]any{"version": 3, "title": "New", "rules": map[string]any{"tiers": []any{"pro"}, "percentage": 12.5}},
		},
		{name: "patch away", method: "PATCH", path: one, body: `{"title":null,"rules":null}`, status: 200, want: map[string]any{"title": nil, "rules": map[string]any{"tiers": []any{}, "percentage": 0}}},
		{name: "delete", method: "DELETE", path: one, status: 204, headers: map[string]string{"Tiergate-Revision": "01234567-5"}},
		{name: "it is gone", path: one, status: 404, want: map[string]any{"code": "not_found"}},
		{name: "nothing to replace", method: "PUT", path: one, body: `{"name":"x","enabled":true,"rules":{}}`, status: 404},
		{name: "nothing to patch", method: "PATCH", path: one, body: `{"enabled":true}`, status: 404},
		{name: "nothing to delete", method: "DELETE", path: one, status: 404},
	})
}

// Features of the other types keep their values as they were sent, digits and all.
func TestFeatures_values_keep_their_text(t *testing.T) {
	w := newWorld(t)
	run(t, admin.New(w.config), []exchange{
		{
			name: "number", method: "POST", path: "/api/features", status: 201,
			body: `{"name":"n","set":"mobile","type":"number","variants":{"big": 9007199254740993, "e":1e2},"defaultVariant":"big","metadata":{"owner":"x","n":1.5,"b":true},"rules":{"targeting":{"if":[true, "big"]}}}`,
			want: map[string]any{"offVariant": "", "metadata": map[string]any{"owner": "x", "n": 1.5, "b": true}, "rules.percentage": 100},
		},
		{
			name: "patched beside it", method: "PATCH", path: "/api/features/id-1", status: 200,
			body: `{"variants":{"small":1,"e":null},"description":"<b>&"}`, want: map[string]any{"description": "<b>&"},
		},
	})
	f := w.flags.things["id-1"]
	if got := string(f.Variants["big"]); got != "9007199254740993" {
		t.Errorf("the large number became %s", got)
	}
	if _, gone := f.Variants["e"]; gone || string(f.Variants["small"]) != "1" {
		t.Errorf("the variants after the patch are %s", f.Variants)
	}
	if got := string(f.Rules.Targeting); got != `{"if":[true,"big"]}` {
		t.Errorf("the targeting became %s", got)
	}
}

// A definition that could not decide is refused, and the problem names the field.
func TestFeatures_bad_definitions(t *testing.T) {
	w := newWorld(t)
	app := admin.New(w.config)
	for name, c := range map[string]struct{ body, field string }{
		"no name":                     {`{}`, "name"},
		"empty name":                  {`{"name":""}`, "name"},
		"unknown field":               {`{"name":"x","colour":1}`, "colour"},
		"field in another case":       {`{"name":"x","Enabled":true}`, "Enabled"},
		"an id":                       {`{"name":"x","id":"mine"}`, "id"},
		"a version":                   {`{"name":"x","version":7}`, "version"},
		"unknown rule":                {`{"name":"x","rules":{"tier":"pro"}}`, "rules.tier"},
		"wrong type":                  {`{"name":7}`, "name"},
		"wrong kind of percentage":    {`{"name":"x","rules":{"percentage":"50"}}`, "rules.percentage"},
		"too high a percentage":       {`{"name":"x","rules":{"percentage":101}}`, "rules.percentage"},
		"too fine a percentage":       {`{"name":"x","rules":{"percentage":1.2345}}`, "rules.percentage"},
		"unknown type":                {`{"name":"x","type":"array"}`, "type"},
		"a string without variants":   {`{"name":"x","type":"string"}`, "variants"},
		"a variant of another type":   {`{"name":"x","variants":{"on":"yes"}}`, "variants.on"},
		"an unknown default":          {`{"name":"x","defaultVariant":"maybe"}`, "defaultVariant"},
		"an odd name":                 {`{"name":"a\tb"}`, "name"},
		"metadata that is a list":     {`{"name":"x","metadata":{"a":[]}}`, "metadata.a"},
		"targeting that cannot be":    {`{"name":"x","rules":{"targeting":{"broken":[]}}}`, "rules.targeting.broken"},
		"rules that are a list":       {`{"name":"x","rules":[]}`, "rules"},
		"a description without bound": {`{"name":"x","description":"` + strings.Repeat("x", 9000) + `"}`, "description"},
	} {
		x := exchange{name: name, method: "POST", path: "/api/features", body: c.body, status: 422, want: map[string]any{"code": "invalid", "errors.0.field": c.field}}
		run(t, app, []exchange{x})
	}
	if len(w.flags.things) != 0 {
		t.Errorf("%d bad features were stored", len(w.flags.things))
	}
}

// A PUT that would lose what decides, and a patch that leads nowhere, are refused.
func TestFeatures_bad_changes(t *testing.T) {
	w := newWorld(t)
	const one = "/api/features/id-1"
	run(t, admin.New(w.config), []exchange{
		{name: "make", method: "POST", path: "/api/features", body: `{"name":"x"}`, status: 201},
		{name: "PUT without rules", method: "PUT", path: one, body: `{"name":"x","enabled":true}`, status: 422, want: map[string]any{"detail": "rules: is required"}},
		{name: "patch of an unknown field", method: "PATCH", path: one, body: `{"colour":1}`, status: 422, want: map[string]any{"errors.0.field": "colour"}},
		{name: "patch of an id", method: "PATCH", path: one, body: `{"id":"y"}`, status: 422, want: map[string]any{"errors.0.message": "is set by the server and cannot be sent"}},
		{name: "patch that removes the name", method: "PATCH", path: one, body: `{"name":null}`, status: 422},
		{name: "patch to a wrong value", method: "PATCH", path: one, body: `{"rules":{"percentage":500}}`, status: 422, want: map[string]any{"errors.0.field": "rules.percentage"}},
		{name: "patch to broken targeting", method: "PATCH", path: one, body: `{"rules":{"targeting":{"broken":1}}}`, status: 422, want: map[string]any{"errors.0.field": "rules.targeting.broken"}},
		{name: "patch that is a list", method: "PATCH", path: one, body: `[]`, status: 422},
		{name: "patch that is null", method: "PATCH", path: one, body: `null`, status: 422},
		{name: "patch without a body", method: "PATCH", path: one, status: 400},
		{name: "an If-Match that is no tag", method: "DELETE", path: one, header: map[string]string{"If-Match": "1"}, status: 422, want: map[string]any{"errors.0.field": "header.If-Match"}},
		{name: "an If-Match of two", method: "DELETE", path: one, header: map[string]string{"If-Match": `"1", "2"`}, status: 422},
		{name: "a weak If-Match", method: "DELETE", path: one, header: map[string]string{"If-Match": `W/"1"`}, status: 412},
		{name: "a tag of somebody else", method: "DELETE", path: one, header: map[string]string{"If-Match": `"abc"`}, status: 412},
		{name: "it is as it was", path: one, status: 200, want: map[string]any{"version": 1}},
		{name: "any version", method: "DELETE", path: one, header: map[string]string{"If-Match": "*"}, status: 204},
	})
}

// A patch without If-Match is applied to what somebody else made of the feature meanwhile.
func TestFeatures_patch_is_applied_to_the_newest(t *testing.T) {
	w := newWorld(t)
	flags := &meddler{fakeFlags: w.flags}
	w.config.Flags = flags
	run(t, admin.New(w.config), []exchange{
		{name: "make", method: "POST", path: "/api/features", body: `{"name":"x"}`, status: 201},
		{name: "patch", method: "PATCH", path: "/api/features/id-1", body: `{"title":"mine"}`, status: 200, want: map[string]any{"title": "mine", "description": "theirs", "version": 3}},
	})
}

// A meddler changes a flag between the first read and the first update.
type meddler struct {
	fakeFlags
	done bool
}

func (m *meddler) UpdateFlag(ctx context.Context, f tiergate.Flag, w tiergate.Write) (tiergate.Written[tiergate.Flag], error) {
	if !m.done {
		m.done = true
		theirs := m.things[f.ID]
		theirs.Description = "theirs"
		_, _ = m.update(theirs, tiergate.Write{})
	}
	return m.fakeFlags.UpdateFlag(ctx, f, w)
}

// Pages follow each other by their tokens, and a page has a bound.
func TestFeatures_pages(t *testing.T) {
	w := newWorld(t)
	app := admin.New(w.config)
	for _, name := range []string{"a", "b", "c"} {
		run(t, app, []exchange{{name: name, method: "POST", path: "/api/features", body: `{"name":"` + name + `"}`, status: 201}})
	}
	run(t, app, []exchange{
		{name: "first", path: "/api/features?pageSize=2", status: 200, want: map[string]any{"nextPageToken": "id-2", "items.1.name": "b"}},
		{name: "second", path: "/api/features?pageSize=2&pageToken=id-2", status: 200, want: map[string]any{"nextPageToken": nil, "items.0.name": "c", "items.1": nil}},
		{name: "too large", path: "/api/features?pageSize=501", status: 422, want: map[string]any{"errors.0.field": "query.pageSize"}},
		{name: "too small", path: "/api/features?pageSize=0", status: 422},
		{name: "no number", path: "/api/features?pageSize=x", status: 422},
		{name: "unknown parameter", path: "/api/features?naem=x", status: 422, want: map[string]any{"errors.0.field": "query.naem"}},
		{name: "twice", path: "/api/features?name=a&name=b", status: 422, want: map[string]any{"errors.0.field": "query.name"}},
	})
}

// What a write says about itself reaches the service, and a dry run keeps nothing.
func TestFeatures_writes_carry_who_and_why(t *testing.T) {
	w := newWorld(t)
	app := admin.New(w.config)
	run(t, app, []exchange{
		{
			name: "dry run", method: "POST", path: "/api/features?dryRun=true", body: `{"name":"x"}`, status: 201,
			want: map[string]any{"name": "x"}, headers: map[string]string{"Tiergate-Revision": "", "Tiergate-In-Force": ""},
		},
		{name: "a dry run that says nothing", method: "POST", path: "/api/features?dryRun", body: `{"name":"x"}`, status: 422},
		{name: "a dry run that says maybe", method: "POST", path: "/api/features?dryRun=maybe", body: `{"name":"x"}`, status: 422},
		{
			name: "with a reason", method: "POST", path: "/api/features", token: editorToken, body: `{"name":"x"}`, status: 201,
			header:  map[string]string{"Change-Reason": "größer", "X-Request-Id": "req-7", "Idempotency-Key": "k1"},
			headers: map[string]string{"X-Request-Id": "req-7", "Idempotent-Replayed": ""},
		},
		{
			name: "again", method: "POST", path: "/api/features", token: editorToken, body: `{"name":"x"}`, status: 201,
			header: map[string]string{"Idempotency-Key": "k1"}, headers: map[string]string{"Idempotent-Replayed": "true", "Location": "/api/features/id-1"},
		},
		{name: "the key for something else", method: "POST", path: "/api/features", body: `{"name":"y"}`, header: map[string]string{"Idempotency-Key": "k1"}, status: 422},
		{name: "a reason without bound", method: "POST", path: "/api/features", body: `{"name":"y"}`, header: map[string]string{"Change-Reason": strings.Repeat("x", 501)}, status: 422},
		{name: "a reason that is no text", method: "POST", path: "/api/features", body: `{"name":"y"}`, header: map[string]string{"Change-Reason": "\xff"}, status: 422},
	})
	if len(w.flags.things) != 1 {
		t.Errorf("%d features are stored, want 1", len(w.flags.things))
	}
	got := w.flags.writes[1]
	want := tiergate.Write{
		Caller: tiergate.Caller{ID: "token:editor", Role: tiergate.PlatformEditor}, RequestID: "req-7", Reason: "größer",
		IdempotencyKey: "k1", Fingerprint: got.Fingerprint,
	}
	if got != want || len(got.Fingerprint) != 64 {
		t.Errorf("the write is %+v, want %+v", got, want)
	}
}

// The answer to a change waits until it is in force, but not for ever.
func TestFeatures_answers_wait_for_the_revision(t *testing.T) {
	w := newWorld(t)
	var waited tiergate.Resume
	w.config.Wait = func(_ context.Context, r tiergate.Resume) error {
		waited = r
		return nil
	}
	create := exchange{name: "in force", method: "POST", path: "/api/features", body: `{"name":"a"}`, status: 201, headers: map[string]string{"Tiergate-In-Force": "true"}}
	run(t, admin.New(w.config), []exchange{create})
	if waited.Rev != 1 {
		t.Errorf("waited for %v", waited)
	}
	w.config.WaitTime = 1
	w.config.Wait = func(ctx context.Context, _ tiergate.Resume) error {
		<-ctx.Done()
		return ctx.Err()
	}
	create.name, create.body, create.headers = "not in force", `{"name":"b"}`, map[string]string{"Tiergate-In-Force": "false", "Tiergate-Revision": "01234567-2"}
	run(t, admin.New(w.config), []exchange{
		create,
		{name: "deleted", method: http.MethodDelete, path: "/api/features/id-2", status: 204, headers: map[string]string{"Tiergate-In-Force": "false"}},
	})
}
