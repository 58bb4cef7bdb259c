package admin

import (
	"context"
	"encoding/json"
	"net/url"

	"github.com/tiergate/tiergate"
)

// A tierBody is what may be said about a tier.
type tierBody struct {
	Key  string `json:"key" minLength:"1" maxLength:"256" doc:"Names the tier for ever" example:"pro"`
	Name string `json:"name" minLength:"1" maxLength:"256" doc:"A name for people" example:"Pro"`
	Rank int    `json:"rank" minimum:"-1000000" maximum:"1000000" doc:"Orders the tiers: a higher rank is more; unique"`
}

func (b tierBody) tier() tiergate.Tier { return tiergate.Tier{Key: b.Key, Name: b.Name, Rank: b.Rank} }

func tierVersion(t tiergate.Tier) int64 { return t.Version }

type (
	getTierInput struct {
		Key         string `path:"key" maxLength:"256"`
		IfNoneMatch string `header:"If-None-Match" doc:"The ETag that you have: if it still holds the answer is 304"`
	}
	createTierInput struct {
		Creating
		Body tierBody
	}
	putTierInput struct {
		Updating
		Key  string `path:"key" maxLength:"256"`
		Body tierBody
	}
	patchTierInput struct {
		Updating
		Key  string `path:"key" maxLength:"256"`
		Body json.RawMessage
	}
	deleteTierInput struct {
		Updating
		Key string `path:"key" maxLength:"256"`
	}
)

func (a *api) tierRoutes() {
	register(a, "listTiers", a.listTiers)
	register(a, "createTier", a.createTier, created)
	register(a, "getTier", a.getTier, conditional)
	register(a, "putTier", a.putTier, replacing[tierBody](a, "name", "rank"))
	register(a, "patchTier", a.patchTier, patchOf[tierBody](a))
	register(a, "deleteTier", a.deleteTier)
}

func (a *api) listTiers(ctx context.Context, _ *struct{}) (*listed[tiergate.Tier], error) {
	tiers, err := a.Tiers.Tiers(ctx)
	if err != nil {
		return nil, err
	}
	return listOf(tiers, "", same[tiergate.Tier]), nil
}

func (a *api) getTier(ctx context.Context, in *getTierInput) (*single[tiergate.Tier], error) {
	t, err := a.Tiers.Tier(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	return singleOf(t, t.Version, in.IfNoneMatch), nil
}

func (a *api) createTier(ctx context.Context, in *createTierInput) (*changed[tiergate.Tier], error) {
	w, err := in.write(ctx)
	if err != nil {
		return nil, err
	}
	t := in.Body.tier()
	if err := t.Validate(); err != nil {
		return nil, err
	}
	done, err := a.Tiers.CreateTier(ctx, t, w)
	return made(ctx, a, done, err, tierVersion, same[tiergate.Tier], "/api/tiers/"+url.PathEscape(t.Key))
}

func (a *api) putTier(ctx context.Context, in *putTierInput) (*changed[tiergate.Tier], error) {
	w, err := in.write(ctx)
	if err != nil {
		return nil, err
	}
	done, err := a.updateTier(ctx, in.Key, in.Body, w)
	return updated(ctx, a, done, err, tierVersion, same[tiergate.Tier])
}

func (a *api) patchTier(ctx context.Context, in *patchTierInput) (*changed[tiergate.Tier], error) {
	w, err := in.write(ctx)
	if err != nil {
		return nil, err
	}
	current := func() (int64, tierBody, error) {
		t, err := a.Tiers.Tier(ctx, in.Key)
		return t.Version, tierBody{Key: t.Key, Name: t.Name, Rank: t.Rank}, err
	}
	update := func(body tierBody, w tiergate.Write) (tiergate.Written[tiergate.Tier], error) {
		return a.updateTier(ctx, in.Key, body, w)
	}
	done, err := patched(ctx, a, in.Body, w, current, update)
	return updated(ctx, a, done, err, tierVersion, same[tiergate.Tier])
}

// updateTier changes a tier in place: its key is what everything else calls it by.
func (a *api) updateTier(ctx context.Context, key string, body tierBody, w tiergate.Write) (tiergate.Written[tiergate.Tier], error) {
	if body.Key != "" && body.Key != key {
		return tiergate.Written[tiergate.Tier]{}, tiergate.FieldErrorf("key", "the key of a tier cannot change")
	}
	body.Key = key
	t := body.tier()
	if err := t.Validate(); err != nil {
		return tiergate.Written[tiergate.Tier]{}, err
	}
	return a.Tiers.UpdateTier(ctx, t, w)
}

func (a *api) deleteTier(ctx context.Context, in *deleteTierInput) (*deleted, error) {
	w, err := in.write(ctx)
	if err != nil {
		return nil, err
	}
	done, err := a.Tiers.DeleteTier(ctx, in.Key, w)
	return deletedOf(ctx, a, done, err)
}
