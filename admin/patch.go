package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tiergate/tiergate"
)

// patchOf documents a PATCH: all fields of B, none required.
func patchOf[B any](a *api) func(*huma.Operation) {
	full := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[B](), false, "")
	schema := *full
	schema.Required = nil
	schema.PrecomputeMessages()
	return func(op *huma.Operation) {
		media := &huma.MediaType{Schema: &schema}
		op.RequestBody = &huma.RequestBody{
			Required:    true,
			Description: "A JSON merge patch (RFC 7396): fields that are named are replaced, null removes, objects are merged.",
			Content:     map[string]*huma.MediaType{"application/merge-patch+json": media, "application/json": media},
		}
	}
}

// replacing documents a PUT, which must say more than a POST does: what would be lost
// silently if it were left out.
func replacing[B any](a *api, required ...string) func(*huma.Operation) {
	full := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[B](), false, "")
	schema := *full
	schema.Required = required
	schema.PrecomputeMessages()
	return func(op *huma.Operation) {
		op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: &schema}}}
	}
}

// patched applies a merge patch to what current returns and hands the outcome, which is as
// strictly checked as a body that was sent, to update. Without If-Match, a change by
// somebody else in between is no reason to refuse: the patch is applied to that.
func patched[T, B any](ctx context.Context, a *api, patch json.RawMessage, w tiergate.Write,
	current func() (int64, B, error), update func(B, tiergate.Write) (tiergate.Written[T], error),
) (tiergate.Written[T], error) {
	anyVersion := w.IfVersion == 0
	for try := 1; ; try++ {
		version, body, err := current()
		if err != nil {
			return tiergate.Written[T]{}, err
		}
		merged, err := mergeInto(ctx, a, body, patch)
		if err != nil {
			return tiergate.Written[T]{}, err
		}
		if anyVersion {
			w.IfVersion = version
		}
		done, err := update(merged, w)
		if !anyVersion || try == 3 || tiergate.CodeOf(err) != tiergate.Stale {
			return done, err
		}
	}
}

// mergeInto returns body with patch applied, or the problem with the outcome.
func mergeInto[B any](ctx context.Context, a *api, body B, patch json.RawMessage) (B, error) {
	var out B
	doc, err := plainJSON(body)
	if err != nil {
		return out, err
	}
	if doc, err = merge(doc, patch); err != nil {
		return out, err
	}
	tree, err := treeOf(doc)
	if err != nil {
		return out, err
	}
	registry, found := a.huma.OpenAPI().Components.Schemas, &huma.ValidateResult{}
	path := huma.NewPathBuffer(nil, 0)
	path.Push("body")
	huma.Validate(registry, registry.Schema(reflect.TypeFor[B](), true, ""), path, huma.ModeWriteToServer, tree, found)
	if len(found.Errors) > 0 {
		return out, problemOfHuma(requestIDOf(ctx), http.StatusUnprocessableEntity, "the patched thing is not valid", found.Errors)
	}
	if err := readJSON(doc, &out); err != nil {
		return out, tiergate.Errorf(tiergate.Invalid, "%s", err.Error())
	}
	return out, nil
}

// merge is RFC 7396. Values that are not objects keep their text, digits and all.
func merge(target, patch json.RawMessage) (json.RawMessage, error) {
	if !isObject(patch) {
		return patch, nil
	}
	members, changes := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if isObject(target) {
		if err := json.Unmarshal(target, &members); err != nil {
			return nil, err
		}
	}
	if err := json.Unmarshal(patch, &changes); err != nil {
		return nil, err
	}
	for name, change := range changes {
		if string(change) == "null" {
			delete(members, name)
			continue
		}
		merged, err := merge(members[name], change)
		if err != nil {
			return nil, err
		}
		members[name] = merged
	}
	return plainJSON(members)
}

func isObject(doc json.RawMessage) bool {
	return bytes.HasPrefix(bytes.TrimLeft(doc, " \t\r\n"), []byte("{"))
}

// plainJSON is json.Marshal that leaves <, > and & in raw values as they are.
func plainJSON(v any) (json.RawMessage, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}
