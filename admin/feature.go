package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/url"

	"github.com/tiergate/tiergate"
)

// A featureBody is what may be said about a feature; everything else of it is ours.
type featureBody struct {
	Set         string `json:"set,omitempty" maxLength:"256" doc:"The flag set; default on creation: \"default\"; left out of a PUT it stays"`
	Name        string `json:"name" minLength:"1" maxLength:"256" doc:"The OpenFeature key, unique within the set" example:"new-dashboard"`
	Title       string `json:"title,omitempty" maxLength:"256" doc:"A name for people"`
	Description string `json:"description,omitempty" maxLength:"8192"`

	Type    string `json:"type,omitempty" enum:"boolean,string,number,object" doc:"The type of the values; default on creation: boolean; left out of a PUT it stays"`
	Enabled bool   `json:"enabled,omitempty" doc:"false: the answer has reason DISABLED and callers use their code default"`

	Variants       map[string]json.RawMessage `json:"variants,omitempty" doc:"The values by name, each of the type; a boolean feature without variants has on and off" example:"{\"on\":true,\"off\":false}"`
	DefaultVariant *string                    `json:"defaultVariant,omitempty" doc:"Served to who gets the feature; empty means the caller's code default; on, for a boolean without variants"`
	OffVariant     *string                    `json:"offVariant,omitempty" doc:"Served to who does not; empty means the caller's code default; off, for a boolean without variants"`

	Rules    *rulesBody     `json:"rules,omitempty" doc:"Who gets it; without rules nobody does"`
	Metadata map[string]any `json:"metadata,omitempty" doc:"Strings, booleans and numbers, given back with each answer"`
}

type rulesBody struct {
	Tiers      []string        `json:"tiers,omitempty" maxItems:"64" doc:"The keys of the tiers that are eligible; empty means every tier"`
	Percentage *float64        `json:"percentage,omitempty" minimum:"0" maximum:"100" doc:"The share of the eligible who get it, with up to three decimals; default 100"`
	Targeting  json.RawMessage `json:"targeting,omitempty" doc:"A JsonLogic rule that yields a variant's name"`
}

// flag makes the flag that the body describes, with the defaults of a new one.
func (b featureBody) flag() tiergate.Flag {
	f := tiergate.Flag{
		Set: cmp.Or(b.Set, tiergate.DefaultSet), Name: b.Name, Title: b.Title, Description: b.Description,
		Type: tiergate.FlagType(cmp.Or(b.Type, string(tiergate.Boolean))), Enabled: b.Enabled,
		Rules: b.Rules.rules(), Metadata: b.Metadata,
	}
	on, off := "", ""
	if f.Type == tiergate.Boolean && len(b.Variants) == 0 {
		on, off = "on", "off"
		b.Variants = map[string]json.RawMessage{on: json.RawMessage("true"), off: json.RawMessage("false")}
	}
	f.Variants = make(map[string]json.RawMessage, len(b.Variants))
	for name, value := range b.Variants {
		f.Variants[name] = compact(value)
	}
	f.DefaultVariant, f.OffVariant = stringOr(b.DefaultVariant, on), stringOr(b.OffVariant, off)
	return f
}

func (b *rulesBody) rules() tiergate.Rules {
	if b == nil {
		return tiergate.Rules{Tiers: []string{}}
	}
	r := tiergate.Rules{Tiers: append([]string{}, b.Tiers...), Percentage: 100, Targeting: compact(b.Targeting)}
	if b.Percentage != nil {
		r.Percentage = *b.Percentage
	}
	if t := string(r.Targeting); t == "null" || t == "{}" {
		r.Targeting = nil
	}
	return r
}

// featureBodyOf is the body that would make f.
func featureBodyOf(f tiergate.Flag) featureBody {
	return featureBody{
		Set: f.Set, Name: f.Name, Title: f.Title, Description: f.Description, Type: string(f.Type), Enabled: f.Enabled,
		Variants: f.Variants, DefaultVariant: &f.DefaultVariant, OffVariant: &f.OffVariant,
		Rules:    &rulesBody{Tiers: f.Rules.Tiers, Percentage: &f.Rules.Percentage, Targeting: f.Rules.Targeting},
		Metadata: f.Metadata,
	}
}

func stringOr(s *string, or string) string {
	if s == nil {
		return or
	}
	return *s
}

// compact takes the white space out of a JSON value. What came through huma is JSON.
func compact(value json.RawMessage) json.RawMessage {
	var out bytes.Buffer
	if len(value) == 0 || json.Compact(&out, value) != nil {
		return value
	}
	return out.Bytes()
}

// shownFlag is a flag as answers have it.
func shownFlag(f tiergate.Flag) tiergate.Flag {
	if f.Rules.Tiers == nil {
		f.Rules.Tiers = []string{}
	}
	return f
}

func flagVersion(f tiergate.Flag) int64 { return f.Version }

// checkFlag refuses a flag that could not decide.
func (a *api) checkFlag(f *tiergate.Flag) error {
	if err := f.Validate(); err != nil {
		return err
	}
	if a.CheckFlag != nil {
		if err := a.CheckFlag(f); err != nil {
			return err
		}
	}
	return checkResults(f)
}

type (
	listFeaturesInput struct {
		Paging
		Name string `query:"name" maxLength:"256" doc:"Only the feature of this name"`
		Set  string `query:"set" maxLength:"256" doc:"Only features of this set"`
	}
	getInput struct {
		ID          string `path:"id" maxLength:"256"`
		IfNoneMatch string `header:"If-None-Match" doc:"The ETag that you have: if it still holds the answer is 304"`
	}
	createFeatureInput struct {
		Creating
		Body featureBody
	}
	putFeatureInput struct {
		Updating
		ID   string `path:"id" maxLength:"256"`
		Body featureBody
	}
	patchInput struct {
		Updating
		ID   string `path:"id" maxLength:"256"`
		Body json.RawMessage
	}
	deleteInput struct {
		Updating
		ID string `path:"id" maxLength:"256"`
	}
)

func (a *api) featureRoutes() {
	register(a, "listFeatures", a.listFeatures)
	register(a, "createFeature", a.createFeature, created)
	register(a, "getFeature", a.getFeature, conditional)
	register(a, "putFeature", a.putFeature, replacing[featureBody](a, "name", "enabled", "rules"))
	register(a, "patchFeature", a.patchFeature, patchOf[featureBody](a))
	register(a, "deleteFeature", a.deleteFeature)
}

func (a *api) listFeatures(ctx context.Context, in *listFeaturesInput) (*listed[tiergate.Flag], error) {
	page, err := a.Flags.Flags(ctx, tiergate.FlagFilter{Set: in.Set, Name: in.Name}, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(page.Items, page.Next, shownFlag), nil
}

func (a *api) getFeature(ctx context.Context, in *getInput) (*single[tiergate.Flag], error) {
	f, err := a.Flags.Flag(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return singleOf(shownFlag(f), f.Version, in.IfNoneMatch), nil
}

func (a *api) createFeature(ctx context.Context, in *createFeatureInput) (*changed[tiergate.Flag], error) {
	w, err := in.write(ctx)
	if err != nil {
		return nil, err
	}
	f := in.Body.flag()
	if err := a.checkFlag(&f); err != nil {
		return nil, err
	}
	done, err := a.Flags.CreateFlag(ctx, f, w)
	return made(ctx, a, done, err, flagVersion, shownFlag, "/api/features/"+url.PathEscape(done.Thing.ID))
}

func (a *api) putFeature(ctx context.Context, in *putFeatureInput) (*changed[tiergate.Flag], error) {
	w, err := in.write(ctx)
	if err != nil {
		return nil, err
	}
	body := in.Body
	if body.Set == "" || body.Type == "" {
		was, err := a.Flags.Flag(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		body.Set, body.Type = cmp.Or(body.Set, was.Set), cmp.Or(body.Type, string(was.Type))
	}
	done, err := a.updateFeature(ctx, in.ID, body, w)
	return updated(ctx, a, done, err, flagVersion, shownFlag)
}

func (a *api) patchFeature(ctx context.Context, in *patchInput) (*changed[tiergate.Flag], error) {
	w, err := in.write(ctx)
	if err != nil {
		return nil, err
	}
	current := func() (int64, featureBody, error) {
		f, err := a.Flags.Flag(ctx, in.ID)
		return f.Version, featureBodyOf(f), err
	}
	update := func(body featureBody, w tiergate.Write) (tiergate.Written[tiergate.Flag], error) {
		return a.updateFeature(ctx, in.ID, body, w)
	}
	done, err := patched(ctx, a, in.Body, w, current, update)
	return updated(ctx, a, done, err, flagVersion, shownFlag)
}

func (a *api) updateFeature(ctx context.Context, id string, body featureBody, w tiergate.Write) (tiergate.Written[tiergate.Flag], error) {
	f := body.flag()
	f.ID = id
	if err := a.checkFlag(&f); err != nil {
		return tiergate.Written[tiergate.Flag]{}, err
	}
	return a.Flags.UpdateFlag(ctx, f, w)
}

func (a *api) deleteFeature(ctx context.Context, in *deleteInput) (*deleted, error) {
	w, err := in.write(ctx)
	if err != nil {
		return nil, err
	}
	done, err := a.Flags.DeleteFlag(ctx, in.ID, w)
	return deletedOf(ctx, a, done, err)
}
