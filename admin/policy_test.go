package admin_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/admin"
)

// A policy is checked, published, replaced and rolled back; the built-in one is version 0.
func TestPolicies_full_life(t *testing.T) {
	w := newWorld(t)
	first, second := map[string]any{"access.rego": "package a"}, map[string]any{"access.rego": "package b"}
	run(t, admin.New(w.config), []exchange{
		{name: "built in", path: "/api/policies", status: 200, want: map[string]any{"version": 0, "modules": map[string]any{"access.rego": "package tiergate.access"}}, headers: map[string]string{"ETag": `"0"`}},
		{name: "none is published", path: "/api/policies/versions", status: 200, want: map[string]any{"items": []any{}}},
		{name: "check", method: "POST", path: "/api/policies/check", body: `{"modules":{"access.rego":"package a"}}`, status: 200, want: map[string]any{"ok": true, "admission": "test 1", "problems": []any{}}},
		{name: "check what is broken", method: "POST", path: "/api/policies/check", body: `{"modules":{"access.rego":"pakage a"}}`, status: 200, want: map[string]any{"ok": false, "problems.0": map[string]any{"file": "access.rego", "row": 1, "col": 1, "message": "package expected"}}},
		{name: "a check has no effect", path: "/api/policies", status: 200, want: map[string]any{"version": 0}},
		{
			name: "publish", method: "POST", path: "/api/policies", header: map[string]string{"If-Match": `"0"`}, body: `{"modules":{"access.rego":"package a"},"comment":"first"}`, status: 201,
			want:    map[string]any{"version": 1, "modules": first, "comment": "first", "createdBy": "token:admin", "admission": "test 1"},
			headers: map[string]string{"Location": "/api/policies/versions/1", "ETag": `"1"`, "Tiergate-Revision": "01234567-1"},
		},
		{
			name: "publish what is broken", method: "POST", path: "/api/policies", body: `{"modules":{"access.rego":"pakage a"}}`, status: 422,
			want: map[string]any{"code": "invalid", "problems.0.file": "access.rego", "problems.0.row": 1, "problems.0.col": 1, "detail": "the policy is refused: access.rego:1:1: package expected"},
		},
		{name: "somebody published before", method: "POST", path: "/api/policies", header: map[string]string{"If-Match": `"0"`}, body: `{"modules":{"access.rego":"package b"}}`, status: 412},
		{name: "a dry run", method: "POST", path: "/api/policies?dryRun=true", body: `{"modules":{"access.rego":"package b"}}`, status: 201, want: map[string]any{"version": 2}},
		{name: "publish on top", method: "POST", path: "/api/policies", header: map[string]string{"If-Match": `"1"`}, body: `{"modules":{"access.rego":"package b"}}`, status: 201, want: map[string]any{"version": 2}},
		{name: "in force", path: "/api/policies", status: 200, want: map[string]any{"version": 2, "modules": second}},
		{name: "have", path: "/api/policies", header: map[string]string{"If-None-Match": `"2"`}, status: 304},
		{name: "roll back", method: "POST", path: "/api/policies/rollback", body: `{"version":1}`, status: 201, want: map[string]any{"version": 3, "modules": first, "comment": "roll back to version 1"}},
		{name: "roll back to the built-in", method: "POST", path: "/api/policies/rollback", body: `{"version":0,"comment":"panic"}`, status: 201, want: map[string]any{"version": 4, "modules": map[string]any{}, "comment": "panic"}},
		{name: "roll back to nowhere", method: "POST", path: "/api/policies/rollback", body: `{"version":99}`, status: 404},
		{name: "stale roll back", method: "POST", path: "/api/policies/rollback", header: map[string]string{"If-Match": `"1"`}, body: `{"version":1}`, status: 412},
		{name: "versions", path: "/api/policies/versions", status: 200, want: map[string]any{"items.1.version": 2, "items.1.files": []any{"access.rego"}, "items.1.modules": nil}},
		{name: "one version", path: "/api/policies/versions/2", status: 200, want: map[string]any{"modules": second}, headers: map[string]string{"ETag": `"2"`}},
		{name: "version 0", path: "/api/policies/versions/0", status: 200, want: map[string]any{"id": "builtin"}},
		{name: "no such version", path: "/api/policies/versions/99", status: 404},
		{name: "no version", path: "/api/policies/versions/x", status: 422},
		{name: "no modules", method: "POST", path: "/api/policies", body: `{"modules":{}}`, status: 422, want: map[string]any{"errors.0.field": "modules"}},
		{name: "modules that are numbers", method: "POST", path: "/api/policies", body: `{"modules":{"a.rego":1,"b.c.rego":2}}`, status: 422, want: map[string]any{"errors.0.field": "modules.a.rego", "errors.1.field": "modules.b.c.rego"}},
		{name: "an admission of one's own", method: "POST", path: "/api/policies", body: `{"modules":{"a.rego":"package a"},"admission":"trust me"}`, status: 422, want: map[string]any{"errors.0.field": "admission"}},
	})
}

// What admission cannot say yes to is never published, whatever is wrong with admission.
func TestPolicies_nothing_is_published_unadmitted(t *testing.T) {
	for name, c := range map[string]struct {
		verdict admin.Verdict
		err     error
		status  int
	}{
		"admission is away":            {err: errors.New("no child process"), status: 500},
		"admission is busy":            {err: tiergate.Errorf(tiergate.Unavailable, "busy"), status: 503},
		"admission says nothing":       {status: 500},
		"admission saw something else": {verdict: admin.Verdict{Admission: "test 1", Hash: "other"}, status: 500},
		"admitted with problems":       {verdict: admin.Verdict{Admission: "test 1", Hash: tiergate.ModulesHash(map[string]string{"a.rego": "package a"}), Problems: []admin.Spot{{Message: "but"}}}, status: 422},
	} {
		w := newWorld(t)
		w.config.CheckPolicy = func(context.Context, map[string]string) (admin.Verdict, error) { return c.verdict, c.err }
		run(t, admin.New(w.config), []exchange{{name: name, method: "POST", path: "/api/policies", body: `{"modules":{"a.rego":"package a"}}`, status: c.status}})
		if len(w.policies.published) != 0 {
			t.Errorf("%s: published", name)
		}
	}
}

// A policy under which no admin could publish the next one is refused.
func TestPolicies_nobody_locks_everybody_out(t *testing.T) {
	w := newWorld(t)
	var asked admin.Question
	w.config.AllowUnder = func(_ context.Context, modules map[string]string, q admin.Question) (bool, error) {
		asked = q
		return modules["admin.rego"] != "package tiergate.admin", nil
	}
	run(t, admin.New(w.config), []exchange{
		{
			name: "locked out", method: "POST", path: "/api/policies", body: `{"modules":{"admin.rego":"package tiergate.admin"}}`, status: 422,
			want: map[string]any{"problems.0.file": "", "detail": "the policy is refused: data.tiergate.admin.allow would refuse policies.publish to admins: nobody could publish the next policy"},
		},
		{name: "an editor finds out too", method: "POST", path: "/api/policies/check", token: editorToken, body: `{"modules":{"admin.rego":"package tiergate.admin"}}`, status: 200, want: map[string]any{"ok": false}},
		{name: "another", method: "POST", path: "/api/policies", body: `{"modules":{"a.rego":"package a"}}`, status: 201},
	})
	want := admin.Question{Caller: tiergate.Caller{ID: "token:admin", Role: tiergate.PlatformAdmin}, Action: "policies.publish", Resource: admin.Resource{Kind: "policies"}}
	if asked != want {
		t.Errorf("asked %+v, want %+v", asked, want)
	}
}

// A publication that is sent again under its key is answered as the first was, whatever has
// become of the version that it named and of what admission says now.
func TestPolicies_a_repeated_publication_answers_as_the_first(t *testing.T) {
	w := newWorld(t)
	refuse := false
	w.config.CheckPolicy = func(ctx context.Context, modules map[string]string) (admin.Verdict, error) {
		if refuse {
			return admin.Verdict{Problems: []admin.Spot{{Message: "not any more"}}}, nil
		}
		return checkRego(ctx, modules)
	}
	app := admin.New(w.config)
	header := map[string]string{"If-Match": `"0"`, "Idempotency-Key": "k"}
	x := exchange{name: "first", method: "POST", path: "/api/policies", header: header, body: `{"modules":{"a.rego":"package a"}}`, status: 201, headers: map[string]string{"Idempotent-Replayed": ""}}
	run(t, app, []exchange{x})
	x.name, x.want = "again", map[string]any{"version": 1, "modules": map[string]any{"a.rego": "package a"}}
	x.headers = map[string]string{"Idempotent-Replayed": "true", "ETag": `"1"`, "Location": "/api/policies/versions/1"}
	run(t, app, []exchange{x})
	x.name, refuse = "again, after admission has changed its mind", true
	run(t, app, []exchange{x, {name: "without the key", method: "POST", path: "/api/policies", body: x.body, status: 422}})
	if len(w.policies.published) != 1 {
		t.Errorf("%d policies are published, want 1", len(w.policies.published))
	}
}
