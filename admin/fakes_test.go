package admin_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/admin"
)

// A shelf keeps things by id the way the database does: versions, idempotency keys, dry
// runs, pages.
type shelf[T any] struct {
	mu      sync.Mutex
	things  map[string]T
	replays map[string]replay[T]
	rev     int64
	writes  []tiergate.Write // what was asked, in order
	fields  func(*T) (id *string, name string, version *int64)
}

type replay[T any] struct {
	fingerprint string
	thing       T
}

func newShelf[T any](fields func(*T) (*string, string, *int64), things ...T) *shelf[T] {
	s := &shelf[T]{things: map[string]T{}, replays: map[string]replay[T]{}, fields: fields}
	for _, t := range things {
		id, _, version := fields(&t)
		*version = 1
		s.things[*id] = t
	}
	return s
}

func (s *shelf[T]) get(id string) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.things[id]
	if !ok {
		return t, tiergate.Errorf(tiergate.NotFound, "there is no such thing")
	}
	return t, nil
}

func (s *shelf[T]) page(p tiergate.Page, keep func(T) bool) (tiergate.List[T], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out tiergate.List[T]
	ids := make([]string, 0, len(s.things))
	for id := range s.things {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if id <= p.Token || !keep(s.things[id]) {
			continue
		}
		if len(out.Items) == p.Size {
			last, _, _ := s.fields(&out.Items[p.Size-1])
			out.Next = *last
			break
		}
		out.Items = append(out.Items, s.things[id])
	}
	return out, nil
}

func (s *shelf[T]) create(t T, w tiergate.Write) (tiergate.Written[T], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, w)
	if r, ok := s.replays[w.IdempotencyKey]; ok && w.IdempotencyKey != "" {
		if r.fingerprint != w.Fingerprint {
			return tiergate.Written[T]{}, tiergate.Errorf(tiergate.Invalid, "the idempotency key was used for something else")
		}
		return tiergate.Written[T]{Thing: r.thing, Replayed: true}, nil
	}
	id, name, version := s.fields(&t)
	for _, other := range s.things {
		if _, taken, _ := s.fields(&other); taken == name {
			return tiergate.Written[T]{}, tiergate.Errorf(tiergate.Conflict, "%s is taken", name)
		}
	}
	*id, *version = cmp.Or(*id, "id-"+strconv.Itoa(len(s.things)+1)), 1
	return s.keep(*id, t, w), nil
}

func (s *shelf[T]) update(t T, w tiergate.Write) (tiergate.Written[T], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, w)
	id, _, version := s.fields(&t)
	old, ok := s.things[*id]
	if !ok {
		return tiergate.Written[T]{}, tiergate.Errorf(tiergate.NotFound, "there is no such thing")
	}
	_, _, was := s.fields(&old)
	if w.IfVersion != 0 && w.IfVersion != *was {
		return tiergate.Written[T]{}, tiergate.Errorf(tiergate.Stale, "it is at version %d", *was)
	}
	*version = *was + 1
	return s.keep(*id, t, w), nil
}

func (s *shelf[T]) keep(id string, t T, w tiergate.Write) tiergate.Written[T] {
	if w.DryRun {
		return tiergate.Written[T]{Thing: t}
	}
	s.things[id] = t
	s.rev++
	if w.IdempotencyKey != "" {
		s.replays[w.IdempotencyKey] = replay[T]{w.Fingerprint, t}
	}
	return tiergate.Written[T]{Thing: t, Resume: tiergate.Resume{Epoch: "0123456789", Rev: s.rev}}
}

func (s *shelf[T]) remove(id string, w tiergate.Write) (tiergate.Written[T], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, w)
	t, ok := s.things[id]
	if !ok {
		return tiergate.Written[T]{}, tiergate.Errorf(tiergate.NotFound, "there is no such thing")
	}
	if _, _, was := s.fields(&t); w.IfVersion != 0 && w.IfVersion != *was {
		return tiergate.Written[T]{}, tiergate.Errorf(tiergate.Stale, "it is at version %d", *was)
	}
	if !w.DryRun {
		delete(s.things, id)
		s.rev++
	}
	return tiergate.Written[T]{Thing: t, Resume: tiergate.Resume{Epoch: "0123456789", Rev: s.rev}}, nil
}

type fakeFlags struct{ *shelf[tiergate.Flag] }

func (f fakeFlags) Flags(_ context.Context, filter tiergate.FlagFilter, p tiergate.Page) (tiergate.List[tiergate.Flag], error) {
	return f.page(p, func(x tiergate.Flag) bool {
		return (filter.Set == "" || filter.Set == x.Set) && (filter.Name == "" || filter.Name == x.Name)
	})
}
func (f fakeFlags) Flag(_ context.Context, id string) (tiergate.Flag, error) { return f.get(id) }
func (f fakeFlags) CreateFlag(_ context.Context, x tiergate.Flag, w tiergate.Write) (tiergate.Written[tiergate.Flag], error) {
	return f.create(x, w)
}

func (f fakeFlags) UpdateFlag(_ context.Context, x tiergate.Flag, w tiergate.Write) (tiergate.Written[tiergate.Flag], error) {
	return f.update(x, w)
}

func (f fakeFlags) DeleteFlag(_ context.Context, id string, w tiergate.Write) (tiergate.Written[tiergate.Flag], error) {
	return f.remove(id, w)
}

func (f fakeFlags) ImportFlags(context.Context, []tiergate.FlagSet, []tiergate.Flag, tiergate.Write) (tiergate.Written[int], error) {
	return tiergate.Written[int]{}, tiergate.Errorf(tiergate.Internal, "not over this door")
}

type fakeTiers struct{ *shelf[tiergate.Tier] }

func (f fakeTiers) Tiers(context.Context) ([]tiergate.Tier, error) {
	all, err := f.page(tiergate.Page{Size: 500}, func(tiergate.Tier) bool { return true })
	return all.Items, err
}
func (f fakeTiers) Tier(_ context.Context, key string) (tiergate.Tier, error) { return f.get(key) }
func (f fakeTiers) CreateTier(_ context.Context, x tiergate.Tier, w tiergate.Write) (tiergate.Written[tiergate.Tier], error) {
	return f.create(x, w)
}

func (f fakeTiers) UpdateTier(_ context.Context, x tiergate.Tier, w tiergate.Write) (tiergate.Written[tiergate.Tier], error) {
	return f.update(x, w)
}

func (f fakeTiers) DeleteTier(_ context.Context, key string, w tiergate.Write) (tiergate.Written[tiergate.Tier], error) {
	if key == "free" {
		return tiergate.Written[tiergate.Tier]{}, tiergate.Errorf(tiergate.Conflict, "tier free is in use")
	}
	return f.remove(key, w)
}

type fakeLimits struct{ *shelf[tiergate.Limit] }

func (f fakeLimits) Limits(_ context.Context, feature string, p tiergate.Page) (tiergate.List[tiergate.Limit], error) {
	return f.page(p, func(x tiergate.Limit) bool { return feature == "" || feature == x.Feature })
}
func (f fakeLimits) Limit(_ context.Context, id string) (tiergate.Limit, error) { return f.get(id) }
func (f fakeLimits) CreateLimit(_ context.Context, x tiergate.Limit, w tiergate.Write) (tiergate.Written[tiergate.Limit], error) {
	return f.create(x, w)
}

func (f fakeLimits) UpdateLimit(_ context.Context, x tiergate.Limit, w tiergate.Write) (tiergate.Written[tiergate.Limit], error) {
	return f.update(x, w)
}

func (f fakeLimits) DeleteLimit(_ context.Context, id string, w tiergate.Write) (tiergate.Written[tiergate.Limit], error) {
	return f.remove(id, w)
}

type fakePolicies struct {
	mu        sync.Mutex
	published []tiergate.PolicyBundle
	replays   map[string]tiergate.PolicyBundle
}

func (f *fakePolicies) ReplayPolicy(_ context.Context, w tiergate.Write) (tiergate.Written[tiergate.PolicyBundle], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.replays[w.IdempotencyKey+w.Fingerprint]
	return tiergate.Written[tiergate.PolicyBundle]{Thing: b, Replayed: ok}, nil
}

func (f *fakePolicies) CurrentPolicy(context.Context) (tiergate.PolicyBundle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.published) == 0 {
		return tiergate.PolicyBundle{}, tiergate.Errorf(tiergate.NotFound, "no policy is published")
	}
	return f.published[len(f.published)-1], nil
}

func (f *fakePolicies) Policies(_ context.Context, p tiergate.Page) (tiergate.List[tiergate.PolicyBundle], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return tiergate.List[tiergate.PolicyBundle]{Items: slices.Clone(f.published)}, nil
}

func (f *fakePolicies) Policy(_ context.Context, version int64) (tiergate.PolicyBundle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if version < 1 || version > int64(len(f.published)) {
		return tiergate.PolicyBundle{}, tiergate.Errorf(tiergate.NotFound, "there is no version %d", version)
	}
	return f.published[version-1], nil
}

func (f *fakePolicies) PublishPolicy(_ context.Context, b tiergate.PolicyBundle, w tiergate.Write) (tiergate.Written[tiergate.PolicyBundle], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w.IfVersion != 0 && max(w.IfVersion, 0) != int64(len(f.published)) {
		return tiergate.Written[tiergate.PolicyBundle]{}, tiergate.Errorf(tiergate.Stale, "version %d is in force", len(f.published))
	}
	b.Version = int64(len(f.published) + 1)
	b.ID = fmt.Sprint("p", b.Version)
	if w.DryRun {
		return tiergate.Written[tiergate.PolicyBundle]{Thing: b}, nil
	}
	f.published = append(f.published, b)
	if w.IdempotencyKey != "" {
		f.replays[w.IdempotencyKey+w.Fingerprint] = b
	}
	return tiergate.Written[tiergate.PolicyBundle]{Thing: b, Resume: tiergate.Resume{Epoch: "0123456789", Rev: b.Version}}, nil
}

type fakeTeams struct{ *shelf[tiergate.Team] }

func (f fakeTeams) Teams(_ context.Context, p tiergate.Page) (tiergate.List[tiergate.Team], error) {
	return f.page(p, func(tiergate.Team) bool { return true })
}
func (f fakeTeams) Team(_ context.Context, id string) (tiergate.Team, error) { return f.get(id) }
func (f fakeTeams) Members(_ context.Context, id string) ([]tiergate.Member, error) {
	if _, err := f.get(id); err != nil {
		return nil, err
	}
	return []tiergate.Member{{TeamID: id, UserID: "alice", Role: tiergate.RoleOwner}}, nil
}

type fakeUsers struct{ users []tiergate.User }

func (f fakeUsers) Users(_ context.Context, p tiergate.Page) (tiergate.List[tiergate.User], error) {
	return tiergate.List[tiergate.User]{Items: f.users}, nil
}

func (f fakeUsers) User(_ context.Context, id string) (tiergate.User, error) {
	for _, u := range f.users {
		if u.ID == id {
			return u, nil
		}
	}
	return tiergate.User{}, tiergate.Errorf(tiergate.NotFound, "user %q not found", id)
}

// A world is an API with everything behind it.
type world struct {
	flags    fakeFlags
	tiers    fakeTiers
	limits   fakeLimits
	policies *fakePolicies
	config   admin.Config
}

const (
	adminToken  = "canary-admin-7f3c1d9b5a"
	editorToken = "canary-editor-0e4d2c6a8b"
	viewerToken = "canary-viewer-9a1b3c5d7e"
)

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		flags:    fakeFlags{newShelf(func(f *tiergate.Flag) (*string, string, *int64) { return &f.ID, f.Set + "/" + f.Name, &f.Version })},
		tiers:    fakeTiers{newShelf(func(t *tiergate.Tier) (*string, string, *int64) { return &t.Key, t.Key, &t.Version }, tiergate.Tier{Key: "free", Name: "Free"})},
		limits:   fakeLimits{newShelf(func(l *tiergate.Limit) (*string, string, *int64) { return &l.ID, l.Key, &l.Version })},
		policies: &fakePolicies{replays: map[string]tiergate.PolicyBundle{}},
	}
	w.config = admin.Config{
		Flags: w.flags, Tiers: w.tiers, Limits: w.limits, Policies: w.policies,
		Teams: fakeTeams{newShelf(func(t *tiergate.Team) (*string, string, *int64) { return &t.ID, t.Name, &t.Version },
			tiergate.Team{ID: "acme", Name: "Acme", OwnerID: "alice", Tier: "enterprise", Status: "active", Settings: tiergate.TeamSettings{MaxMembers: 5}})},
		Users: fakeUsers{[]tiergate.User{{ID: "alice", Tier: "free"}}},
		Tokens: []admin.Token{
			admin.TokenOf(adminToken, tiergate.Caller{ID: "token:admin", Role: tiergate.PlatformAdmin}),
			admin.TokenOf(editorToken, tiergate.Caller{ID: "token:editor", Role: tiergate.PlatformEditor}),
			admin.TokenOf(viewerToken, tiergate.Caller{ID: "token:viewer", Role: tiergate.PlatformViewer}),
		},
		Allow:         allowByRole,
		CheckFlag:     checkTargeting,
		CheckPolicy:   checkRego,
		BuiltinPolicy: map[string]string{"access.rego": "package tiergate.access"},
	}
	return w
}
