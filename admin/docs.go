package admin

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed" // for the docs page
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gofiber/fiber/v2"
)

const (
	apiVersion     = "1"
	apiDescription = "Change flags, tiers, limits and policies, and look at teams and users. " +
		"Every change is a revision: sidecars have it milliseconds later, and the audit trail keeps who made it and why. " +
		"Each answer has an X-Request-Id, the caller's own if it sent a sane one."
)

// things orders the nouns and says what they are.
var things = []struct{ tag, what string }{
	{"features", "Flags: named switches and values, and who gets them."},
	{"tiers", "The ordered plans, such as free < pro < enterprise."},
	{"limits", "How much of a feature each tier grants."},
	{"policies", "The Rego that decides access, tiers, limits and who may do what here."},
	{"teams", "The tenants and their members."},
	{"users", "Who asks."},
}

// kinds of problems, as the docs page explains them.
var problemKinds = []struct{ Code, What string }{
	{"invalid", "The request can never work as it is: 400 when it cannot be read, 422 when what it says is wrong. The errors name the fields; a refused policy lists file, row and column under problems."},
	{"unauthorized", "401. There is no token, or not a valid one."},
	{"forbidden", "403. The token's role may not do this."},
	{"not_found", "404. There is no such thing."},
	{"method_not_allowed", "405: the Allow header says what the path knows. 501: nothing here knows the method."},
	{"timeout", "408. The request took too long to arrive."},
	{"conflict", "409. The name is taken, or the thing is in use."},
	{"stale", "412. The thing has changed since the version that If-Match names. Read it again."},
	{"too_large", "413 for a body above 512 KiB, 431 for a header above 8 KiB."},
	{"unsupported_media_type", "415. The body must be JSON, declared as such, and not compressed."},
	{"unknown_host", "421. The Host header names a server that this is not."},
	{"internal", "500. A bug or a broken dependency; the request id finds it in the log."},
	{"unavailable", "503. Something behind the API is away; try again."},
}

// describe completes the OpenAPI document with what the Go types do not say.
func describe(doc *huma.OpenAPI) {
	for _, thing := range things {
		doc.Tags = append(doc.Tags, &huma.Tag{Name: thing.tag, Description: thing.what})
	}
	schemas := doc.Components.Schemas.Map()
	for shown, said := range map[string]string{"Flag": "FeatureBody", "Rules": "RulesBody", "Tier": "TierBody", "Limit": "LimitBody"} {
		for name, property := range schemas[shown].Properties {
			if from := schemas[said].Properties[name]; from != nil && property.Ref == "" {
				property.Description, property.Enum = from.Description, from.Enum
			}
		}
	}
	for schemaName, schema := range schemas {
		if !strings.HasSuffix(schemaName, "Body") {
			schema.AdditionalProperties = nil // answers may get more fields; requests may not have others
		}
		for name, what := range map[string]string{
			"id": "Minted by the server", "version": "Grows by one with each change", "createdAt": "RFC 3339, UTC", "updatedAt": "RFC 3339, UTC",
		} {
			if p := schema.Properties[name]; p != nil && p.Description == "" {
				p.Description = what
			}
		}
	}
	schemas["Team"].Properties["status"].Enum = []any{"active", "suspended"}
	schemas["Member"].Properties["role"].Enum = []any{"OWNER", "ADMIN", "MEMBER"}
}

// serveDocs makes the OpenAPI document and the docs page once, and serves them to anybody:
// they are in the source for all to see.
func (a *api) serveDocs(app *fiber.App) {
	doc := a.huma.OpenAPI()
	asYAML, err := doc.YAML()
	if err != nil {
		panic("tiergate: bug: " + err.Error())
	}
	page, policy := docsPage(doc, a.Version)
	serve := func(path, media, policy string, body []byte) {
		headToo{app}.Add(fiber.MethodGet, path, func(c *fiber.Ctx) error {
			c.Set(fiber.HeaderContentType, media)
			c.Set(fiber.HeaderContentSecurityPolicy, policy)
			c.Set(fiber.HeaderCacheControl, "no-cache")
			return c.Send(body)
		})
	}
	const nothing = "default-src 'none'; frame-ancestors 'none'"
	serve("/openapi.json", "application/json", nothing, openAPIJSON(doc))
	serve("/openapi.yaml", "application/yaml", nothing, asYAML)
	serve("/docs", "text/html; charset=utf-8", policy, page)
}

// openAPIJSON is the document as it is served and committed.
func openAPIJSON(doc *huma.OpenAPI) []byte {
	plain, err := json.Marshal(doc)
	if err != nil {
		panic("tiergate: bug: " + err.Error())
	}
	var out bytes.Buffer
	_ = json.Indent(&out, plain, "", "  ") // what Marshal made is JSON
	out.WriteByte('\n')
	return out.Bytes()
}

//go:embed docs.html
var docsTemplate string

//go:embed docs.css
var docsStyle string

// docsPage renders the document as one page without scripts that loads nothing, and the
// content security policy that holds it to that.
func docsPage(doc *huma.OpenAPI, version string) (page []byte, policy string) {
	t := template.Must(template.New("docs").Funcs(template.FuncMap{"type": typeName, "fields": fieldsOf}).Parse(docsTemplate))
	var out bytes.Buffer
	err := t.Execute(&out, map[string]any{
		"Style": template.CSS(docsStyle), "Info": doc.Info, "Version": cmp.Or(version, "unknown"), "Groups": groupsOf(doc),
		"Schemas": schemasOf(doc), "Problems": problemKinds,
	})
	if err != nil {
		panic("tiergate: bug: " + err.Error())
	}
	sum := sha256.Sum256([]byte(docsStyle))
	return out.Bytes(), "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-" +
		base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// A docsGroup is what can be done to one kind of thing.
type docsGroup struct {
	Tag, What  string
	Operations []docsOperation
}

type docsOperation struct {
	*huma.Operation
	Action string
	Body   *huma.Schema // nil when the request has none
	Media  []string     // of the body
	Answer *huma.Schema // nil when the answer has no body
	Status string       // of success
}

func groupsOf(doc *huma.OpenAPI) []docsGroup {
	groups := make([]docsGroup, 0, len(things))
	for _, thing := range things {
		g := docsGroup{Tag: thing.tag, What: thing.what}
		for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
			item := doc.Paths[path]
			for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
				if op != nil && op.Tags[0] == thing.tag {
					g.Operations = append(g.Operations, docsOperationOf(op))
				}
			}
		}
		groups = append(groups, g)
	}
	return groups
}

func docsOperationOf(op *huma.Operation) docsOperation {
	d := docsOperation{Operation: op, Action: routes[op.OperationID].action, Status: fmt.Sprint(op.DefaultStatus)}
	if op.RequestBody != nil {
		d.Media = slices.Sorted(maps.Keys(op.RequestBody.Content))
		d.Body = op.RequestBody.Content[d.Media[0]].Schema
	}
	if media := op.Responses[d.Status].Content["application/json"]; media != nil {
		d.Answer = media.Schema
	}
	return d
}

// A docsSchema is a named shape.
type docsSchema struct {
	Name   string
	Schema *huma.Schema
}

func schemasOf(doc *huma.OpenAPI) []docsSchema {
	all := doc.Components.Schemas.Map()
	out := make([]docsSchema, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, docsSchema{name, all[name]})
	}
	return out
}

// A docsField is one member of a shape.
type docsField struct {
	Name, Description string
	Schema            *huma.Schema
	Required          bool
}

func fieldsOf(s *huma.Schema) []docsField {
	out := make([]docsField, 0, len(s.Properties))
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		out = append(out, docsField{name, p.Description, p, slices.Contains(s.Required, name)})
	}
	return out
}

// typeName says in a few words what a schema takes; a named shape links to itself.
func typeName(s *huma.Schema) template.HTML {
	switch {
	case s == nil:
		return "nothing"
	case s.Ref != "":
		name := template.HTMLEscapeString(s.Ref[strings.LastIndexByte(s.Ref, '/')+1:])
		return template.HTML(`<a href="#schema-` + name + `">` + name + `</a>`) // escaped above
	case len(s.Enum) > 0:
		words := make([]string, len(s.Enum))
		for i, e := range s.Enum {
			words[i] = fmt.Sprint(e)
		}
		return template.HTML(template.HTMLEscapeString(strings.Join(words, " | "))) // escaped
	case s.Type == huma.TypeArray:
		return "list of " + typeName(s.Items)
	case s.Type == huma.TypeObject:
		if values, ok := s.AdditionalProperties.(*huma.Schema); ok {
			return "map to " + typeName(values)
		}
		return "object"
	case s.Type == "":
		return "any JSON"
	}
	name := s.Type
	if s.Nullable {
		name += " or null"
	}
	return template.HTML(template.HTMLEscapeString(name)) // escaped
}
