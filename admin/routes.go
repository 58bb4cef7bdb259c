package admin

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humafiber"
	"github.com/gofiber/fiber/v2"
)

// A route is one thing that can be done over the API.
type route struct {
	method, path string
	action       string // what Allow is asked about, "<things>.<verb>"
	summary      string
}

// routes is the table of everything the API does, by operation id. What is not in it
// cannot be registered, and what has no action is refused to everybody.
var routes = map[string]route{
	"listFeatures":  {http.MethodGet, "/api/features", "flags.read", "List features, or find one by set and name"},
	"createFeature": {http.MethodPost, "/api/features", "flags.write", "Create a feature"},
	"getFeature":    {http.MethodGet, "/api/features/{id}", "flags.read", "Read a feature"},
	"putFeature":    {http.MethodPut, "/api/features/{id}", "flags.write", "Replace a feature's definition"},
	"patchFeature":  {http.MethodPatch, "/api/features/{id}", "flags.write", "Change parts of a feature's definition"},
	"deleteFeature": {http.MethodDelete, "/api/features/{id}", "flags.write", "Delete a feature"},

	"listTiers":  {http.MethodGet, "/api/tiers", "tiers.read", "List all tiers"},
	"createTier": {http.MethodPost, "/api/tiers", "tiers.write", "Create a tier"},
	"getTier":    {http.MethodGet, "/api/tiers/{key}", "tiers.read", "Read a tier"},
	"putTier":    {http.MethodPut, "/api/tiers/{key}", "tiers.write", "Replace a tier's definition"},
	"patchTier":  {http.MethodPatch, "/api/tiers/{key}", "tiers.write", "Change parts of a tier"},
	"deleteTier": {http.MethodDelete, "/api/tiers/{key}", "tiers.write", "Delete a tier that nothing names"},

	"listLimits":  {http.MethodGet, "/api/limits", "limits.read", "List limits, or those of one feature"},
	"createLimit": {http.MethodPost, "/api/limits", "limits.write", "Create a limit"},
	"getLimit":    {http.MethodGet, "/api/limits/{id}", "limits.read", "Read a limit"},
	"putLimit":    {http.MethodPut, "/api/limits/{id}", "limits.write", "Replace a limit's definition"},
	"patchLimit":  {http.MethodPatch, "/api/limits/{id}", "limits.write", "Change parts of a limit"},
	"deleteLimit": {http.MethodDelete, "/api/limits/{id}", "limits.write", "Delete a limit"},

	"currentPolicy":  {http.MethodGet, "/api/policies", "policies.read", "Read the policy in force"},
	"listPolicies":   {http.MethodGet, "/api/policies/versions", "policies.read", "List the published policies, newest first"},
	"getPolicy":      {http.MethodGet, "/api/policies/versions/{version}", "policies.read", "Read one published policy"},
	"checkPolicy":    {http.MethodPost, "/api/policies/check", "policies.check", "Check a policy without any effect"},
	"publishPolicy":  {http.MethodPost, "/api/policies", "policies.publish", "Publish a policy"},
	"rollBackPolicy": {http.MethodPost, "/api/policies/rollback", "policies.publish", "Publish an earlier policy again"},

	"listTeams":   {http.MethodGet, "/api/teams", "teams.read", "List teams"},
	"getTeam":     {http.MethodGet, "/api/teams/{id}", "teams.read", "Read a team"},
	"listMembers": {http.MethodGet, "/api/teams/{id}/members", "teams.read", "List the members of a team"},

	"listUsers": {http.MethodGet, "/api/users", "users.read", "List users"},
	"getUser":   {http.MethodGet, "/api/users/{id}", "users.read", "Read a user"},
}

// changes reports whether the route can change something.
func (r route) changes() bool {
	return r.method != http.MethodGet && !strings.HasSuffix(r.path, "/check")
}

// newHuma sets huma up for app. Its own documents are off: its docs page loads scripts
// from elsewhere, and it makes the OpenAPI document in the first request, unguarded.
func newHuma(app *fiber.App) huma.API {
	return humafiber.NewWithGroup(app, headToo{app}, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "tiergate admin API", Version: apiVersion, Description: apiDescription},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"token": {Type: "http", Scheme: "bearer", Description: "A token of the environment; its role says what it may do."},
				},
			},
			Security: []map[string][]string{{"token": {}}},
		},
		Formats:                      map[string]huma.Format{"application/json": strictJSON, "json": strictJSON},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	})
}

// register puts a line of the table in service. Options adjust its documentation.
func register[I, O any](a *api, id string, handle func(context.Context, *I) (*O, error), options ...func(*huma.Operation)) {
	r, ok := routes[id]
	if !ok || a.seen[id] {
		panic("tiergate: bug: route " + id + " is not in the table, or twice in service")
	}
	a.seen[id] = true
	op := huma.Operation{
		OperationID: id, Method: r.method, Path: r.path, Summary: r.summary,
		Tags: []string{strings.Split(r.path, "/")[2]}, Errors: errorsOf(r), MaxBodyBytes: maxBodyBytes + 1,
	}
	for _, option := range options {
		option(&op)
	}
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		return out, nil
	})
}

// errorsOf lists the statuses, beside 422 and 500, that a route may answer with.
func errorsOf(r route) []int {
	list := []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusServiceUnavailable}
	if strings.Contains(r.path, "{") || strings.HasSuffix(r.path, "rollback") {
		list = append(list, http.StatusNotFound)
	}
	if r.changes() {
		list = append(list, http.StatusConflict, http.StatusPreconditionFailed)
	}
	if r.method != http.MethodGet && r.method != http.MethodDelete {
		list = append(list, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	slices.Sort(list)
	return list
}
