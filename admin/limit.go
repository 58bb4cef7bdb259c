package admin

import (
	"context"
	"net/url"

	"github.com/tiergate/tiergate"
)

// A limitBody is what may be said about a limit.
type limitBody struct {
	Key     string            `json:"key" minLength:"1" maxLength:"256" doc:"Unique" example:"exports-per-day"`
	Feature string            `json:"feature" minLength:"1" maxLength:"256" doc:"The name of what is limited; it needs no flag" example:"exports"`
	Kind    string            `json:"kind" enum:"quota,rate,concurrency,gauge" doc:"quota: n per period; rate: n per second or minute, with burst; concurrency: n at once; gauge: n held, such as seats"`
	Scope   string            `json:"scope" enum:"team,user" doc:"Who shares it"`
	Class   string            `json:"class,omitempty" enum:"exact,local,leased" doc:"How it is counted across sidecars; default exact for a quota"`
	Period  string            `json:"period,omitempty" enum:"second,minute,hour,day,week,month,year,lifetime" doc:"second or minute for a rate, the others for a quota"`
	Zone    string            `json:"zone,omitempty" maxLength:"64" doc:"IANA time zone of the periods and of the anchor; default UTC" example:"Europe/Berlin"`
	Anchor  string            `json:"anchor,omitempty" maxLength:"19" doc:"When the first period of a quota began, a day or a time; the others begin as far apart as the period says, in a month without that day on its last. Default the calendar: midnight, Monday, the first of the month" example:"2026-01-31T15:00:00"`
	Amounts map[string]*int64 `json:"amounts" doc:"The units by tier key: null is unlimited, a tier that is left out gets 0" example:"{\"free\":3,\"pro\":50,\"enterprise\":null}"`
	Bursts  map[string]int64  `json:"bursts,omitempty" doc:"What a rate lets through at once, by tier key; a tier left out gets its amount"`
	Cost    int64             `json:"cost,omitempty" minimum:"0" doc:"Units of one use when the caller names none; 0 means 1"`

	OnUnavailable string `json:"onUnavailable,omitempty" pattern:"^(deny|allow|allowUpTo\\([1-9][0-9]{0,15}\\))$" patternDescription:"deny, allow or allowUpTo(n)" doc:"What happens while usage cannot be counted: deny (the default), allow, or allow n units that were handed out before, n up to 2^53"`
}

func (b limitBody) limit() tiergate.Limit {
	return tiergate.Limit{
		Key: b.Key, Feature: b.Feature, Kind: tiergate.LimitKind(b.Kind), Scope: b.Scope, Class: b.Class, Period: b.Period, Zone: b.Zone, Anchor: b.Anchor,
		Amounts: b.Amounts, Bursts: b.Bursts, Cost: b.Cost, OnUnavailable: b.OnUnavailable,
	}
}

func limitBodyOf(l tiergate.Limit) limitBody {
	return limitBody{
		Key: l.Key, Feature: l.Feature, Kind: string(l.Kind), Scope: l.Scope, Class: l.Class, Period: l.Period, Zone: l.Zone, Anchor: l.Anchor,
		Amounts: shownLimit(l).Amounts, Bursts: l.Bursts, Cost: l.Cost, OnUnavailable: l.OnUnavailable,
	}
}

// shownLimit is a limit as answers have it.
func shownLimit(l tiergate.Limit) tiergate.Limit {
	if l.Amounts == nil {
		l.Amounts = map[string]*int64{}
	}
	return l
}

func limitVersion(l tiergate.Limit) int64 { return l.Version }

type (
	listLimitsInput struct {
		Paging
		Feature string `query:"feature" maxLength:"256" doc:"Only the limits on this feature"`
	}
	createLimitInput struct {
		Creating
		Body limitBody
	}
	putLimitInput struct {
		Updating
		ID   string `path:"id" maxLength:"256"`
		Body limitBody
	}
)

func (a *api) limitRoutes() {
	register(a, "listLimits", a.listLimits)
	register(a, "createLimit", a.createLimit, created)
	register(a, "getLimit", a.getLimit, conditional)
	register(a, "putLimit", a.putLimit)
	register(a, "patchLimit", a.patchLimit, patchOf[limitBody](a))
	register(a, "deleteLimit", a.deleteLimit)
}

func (a *api) listLimits(ctx context.Context, in *listLimitsInput) (*listed[tiergate.Limit], error) {
	page, err := a.Limits.Limits(ctx, in.Feature, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(page.Items, page.Next, shownLimit), nil
}

func (a *api) getLimit(ctx context.Context, in *getInput) (*single[tiergate.Limit], error) {
	l, err := a.Limits.Limit(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return singleOf(shownLimit(l), l.Version, in.IfNoneMatch), nil
}

func (a *api) createLimit(ctx context.Context, in *createLimitInput) (*changed[tiergate.Limit], error) {
	w, err := in.write(ctx)
	if err != nil {
		return nil, err
	}
	l := in.Body.limit()
	if err := l.Validate(); err != nil {
		return nil, err
	}
	done, err := a.Limits.CreateLimit(ctx, l, w)
	return made(ctx, a, done, err, limitVersion, shownLimit, "/api/limits/"+url.PathEscape(done.Thing.ID))
}

func (a *api) putLimit(ctx context.Context, in *putLimitInput) (*changed[tiergate.Limit], error) {
	w, err := in.write(ctx)
	if err != nil {
		return nil, err
	}
	done, err := a.updateLimit(ctx, in.ID, in.Body, w)
	return updated(ctx, a, done, err, limitVersion, shownLimit)
}

func (a *api) patchLimit(ctx context.Context, in *patchInput) (*changed[tiergate.Limit], error) {
	w, err := in.write(ctx)
	if err != nil {
		return nil, err
	}
	current := func() (int64, limitBody, error) {
		l, err := a.Limits.Limit(ctx, in.ID)
		return l.Version, limitBodyOf(l), err
	}
	update := func(body limitBody, w tiergate.Write) (tiergate.Written[tiergate.Limit], error) {
		return a.updateLimit(ctx, in.ID, body, w)
	}
	done, err := patched(ctx, a, in.Body, w, current, update)
	return updated(ctx, a, done, err, limitVersion, shownLimit)
}

func (a *api) updateLimit(ctx context.Context, id string, body limitBody, w tiergate.Write) (tiergate.Written[tiergate.Limit], error) {
	l := body.limit()
	l.ID = id
	if err := l.Validate(); err != nil {
		return tiergate.Written[tiergate.Limit]{}, err
	}
	return a.Limits.UpdateLimit(ctx, l, w)
}

func (a *api) deleteLimit(ctx context.Context, in *deleteInput) (*deleted, error) {
	w, err := in.write(ctx)
	if err != nil {
		return nil, err
	}
	done, err := a.Limits.DeleteLimit(ctx, in.ID, w)
	return deletedOf(ctx, a, done, err)
}
