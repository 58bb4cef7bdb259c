package postgres

import (
	"context"

	"github.com/tiergate/tiergate"
)

var (
	_ tiergate.TeamService = (*DB)(nil)
	_ tiergate.UserService = (*DB)(nil)
)

// Teams lists teams in the order of their ids.
func (db *DB) Teams(ctx context.Context, page tiergate.Page) (tiergate.List[tiergate.Team], error) {
	return listByID(ctx, db, page, "teams", tiergate.KindTeam, `select image(t) from teams t where id > $1 order by id limit $2`,
		func(t *tiergate.Team) cursor { return cursor{t.ID} })
}

// Team returns the team of an id.
func (db *DB) Team(ctx context.Context, id string) (tiergate.Team, error) {
	return get[tiergate.Team](ctx, db, tiergate.KindTeam, "team", id, `select image(t) from teams t where id = $1`)
}

// Members lists a team's members in the order of their user ids.
func (db *DB) Members(ctx context.Context, teamID string) ([]tiergate.Member, error) {
	if _, err := db.Team(ctx, teamID); err != nil {
		return nil, err
	}
	members, err := many[tiergate.Member](ctx, db.pool, tiergate.KindMember,
		`select image(m) from team_members m where team_id = $1 order by user_id`, teamID)
	return members, wrap(err, "list the members of a team")
}

// Users lists users in the order of their ids.
func (db *DB) Users(ctx context.Context, page tiergate.Page) (tiergate.List[tiergate.User], error) {
	return listByID(ctx, db, page, "users", tiergate.KindUser, `select image(u) from users u where id > $1 order by id limit $2`,
		func(u *tiergate.User) cursor { return cursor{u.ID} })
}

// User returns the user of an id.
func (db *DB) User(ctx context.Context, id string) (tiergate.User, error) {
	return get[tiergate.User](ctx, db, tiergate.KindUser, "user", id, `select image(u) from users u where id = $1`)
}

func listByID[T any](ctx context.Context, db *DB, page tiergate.Page, list string, kind tiergate.Kind, sql string, place func(*T) cursor) (tiergate.List[T], error) {
	size, after, err := readPage(page, list, 1)
	if err != nil {
		return tiergate.List[T]{}, err
	}
	things, err := many[T](ctx, db.pool, kind, sql, after[0], size+1)
	if err != nil {
		return tiergate.List[T]{}, wrap(err, "list %s", list)
	}
	return makeList(things, size, list, place), nil
}
