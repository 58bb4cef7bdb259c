package admin

import (
	"context"
	"net/http"

	"github.com/tiergate/tiergate"
)

type getUserInput struct {
	ID string `path:"id" maxLength:"256"`
}

func (a *api) userRoutes() {
	register(a, "listUsers", a.listUsers)
	register(a, "getUser", a.getUser)
}

func (a *api) listUsers(ctx context.Context, in *Paging) (*listed[tiergate.User], error) {
	page, err := a.Users.Users(ctx, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(page.Items, page.Next, same[tiergate.User]), nil
}

// An answer with one user, who has no version.
type oneUser struct {
	Status int
	Body   tiergate.User
}

func (a *api) getUser(ctx context.Context, in *getUserInput) (*oneUser, error) {
	u, err := a.Users.User(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &oneUser{Status: http.StatusOK, Body: u}, nil
}
