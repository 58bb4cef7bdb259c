package admin_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/admin"
)

// Whatever is sent as a feature is stored as a valid flag or refused with a problem; and
// whatever is sent as a patch of one too. Nothing is our fault, and nothing panics.
func FuzzFeature(f *testing.F) {
	w := newWorld(f)
	app := admin.New(w.config)
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) == 0 {
			return
		}
		clear(w.flags.things)
		for _, x := range []exchange{
			{method: http.MethodPost, path: "/api/features", body: `{"name":"there"}`},
			{method: http.MethodPost, path: "/api/features", body: string(body)},
			{method: http.MethodPatch, path: "/api/features/id-1", body: string(body)},
		} {
			resp, answer := answerOf(t, app, x.request())
			switch resp.StatusCode {
			case http.StatusOK, http.StatusCreated:
			case http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
				var p admin.Problem
				if err := json.Unmarshal([]byte(answer), &p); err != nil || p.Detail == "" {
					t.Errorf("%s %q: a problem that is none: %s", x.method, body, answer)
				}
			default:
				t.Errorf("%s %q: status %d: %s", x.method, body, resp.StatusCode, answer)
			}
		}
		for _, flag := range w.flags.things {
			if err := flag.Validate(); err != nil {
				t.Errorf("%q is stored and not valid: %v", body, err)
			}
		}
	})
}

// Every valid flag survives being read, sent back as it may be, and patched with nothing.
func TestFeatures_empty_patch_changes_nothing(t *testing.T) {
	w := newWorld(t)
	app := admin.New(w.config)
	rapid.Check(t, func(r *rapid.T) {
		before := flags().Draw(r, "flag")
		if err := before.Validate(); err != nil {
			r.Fatalf("the generator made a flag that is not valid: %v", err)
		}
		w.flags.things = map[string]tiergate.Flag{before.ID: before}
		resp, body := answerOf(t, app, exchange{method: http.MethodPatch, path: "/api/features/f", body: `{}`}.request())
		if resp.StatusCode != http.StatusOK {
			r.Fatalf("status %d: %s", resp.StatusCode, body)
		}
		after := w.flags.things["f"]
		before.Version++
		if diff := cmp.Diff(before, after); diff != "" {
			r.Errorf("the flag changed (-before +after):\n%s", diff)
		}
	})
}

// flags draws valid flags.
func flags() *rapid.Generator[tiergate.Flag] {
	name := rapid.StringMatching(`[a-z_$][a-zA-Z0-9_.$:/ @~+-]{0,12}`)
	values := map[tiergate.FlagType]*rapid.Generator[string]{
		tiergate.Boolean: rapid.SampledFrom([]string{"true", "false"}),
		tiergate.String:  rapid.SampledFrom([]string{`""`, `"on"`, `"<&>\u2028"`, `"ä😀"`}),
		tiergate.Number:  rapid.SampledFrom([]string{"0", "-0", "9007199254740993", "1e2", "0.1", "1.50"}),
		tiergate.Object:  rapid.SampledFrom([]string{`{}`, `{"a":null}`, `{"a.b":{"c":[1,{"d":2}]}}`, `{"<":"&"}`}),
	}
	return rapid.Custom(func(r *rapid.T) tiergate.Flag {
		f := tiergate.Flag{
			ID: "f", Version: 1, Set: name.Draw(r, "set"), Name: name.Draw(r, "name"), Title: rapid.String().Draw(r, "title"),
			Type: rapid.SampledFrom([]tiergate.FlagType{tiergate.Boolean, tiergate.String, tiergate.Number, tiergate.Object}).Draw(r, "type"),
		}
		if len(f.Title) > 256 {
			f.Title = ""
		}
		f.Enabled = rapid.Bool().Draw(r, "enabled")
		f.Variants = map[string]json.RawMessage{}
		names := rapid.SliceOfNDistinct(name, 1, 5, rapid.ID[string]).Draw(r, "variants")
		for _, n := range names {
			f.Variants[n] = json.RawMessage(values[f.Type].Draw(r, "value"))
		}
		f.DefaultVariant = rapid.SampledFrom(append([]string{""}, names...)).Draw(r, "default")
		f.OffVariant = rapid.SampledFrom(append([]string{""}, names...)).Draw(r, "off")
		f.Rules = tiergate.Rules{
			Tiers:      append([]string{}, rapid.SliceOfN(name, 0, 3).Draw(r, "tiers")...),
			Percentage: float64(rapid.IntRange(0, 100_000).Draw(r, "percentage")) / 1000,
		}
		if rapid.Bool().Draw(r, "targeted") {
			f.Rules.Targeting = json.RawMessage(`{"if":[{"in":["@<x>",{"var":"email"}]},` + asJSON(names[0]) + `,null]}`)
		}
		if rapid.Bool().Draw(r, "labelled") {
			f.Metadata = map[string]any{"owner.team": "x", "n": 1.5, "b": false}
		}
		return f
	})
}
