package admin

import (
	"context"

	"github.com/tiergate/tiergate"
)

// shownTeam is a team as answers have it.
func shownTeam(t tiergate.Team) tiergate.Team {
	if t.Settings.AllowedFeatures == nil {
		t.Settings.AllowedFeatures = []string{}
	}
	return t
}

type listMembersInput struct {
	ID string `path:"id" maxLength:"256"`
}

func (a *api) teamRoutes() {
	register(a, "listTeams", a.listTeams)
	register(a, "getTeam", a.getTeam, conditional)
	register(a, "listMembers", a.listMembers)
}

func (a *api) listTeams(ctx context.Context, in *Paging) (*listed[tiergate.Team], error) {
	page, err := a.Teams.Teams(ctx, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(page.Items, page.Next, shownTeam), nil
}

func (a *api) getTeam(ctx context.Context, in *getInput) (*single[tiergate.Team], error) {
	t, err := a.Teams.Team(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return singleOf(shownTeam(t), t.Version, in.IfNoneMatch), nil
}

func (a *api) listMembers(ctx context.Context, in *listMembersInput) (*listed[tiergate.Member], error) {
	members, err := a.Teams.Members(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return listOf(members, "", same[tiergate.Member]), nil
}
