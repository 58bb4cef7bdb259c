package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/admin"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/evaluator/targeting"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/policy"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/rego"
	"github.com/tiergate/tiergate/server"
)

// adminCmd serves the admin API. It runs the same replica as a sidecar, so that it can
// ask the policy and wait for what it has written.
type adminCmd struct {
	Database string `help:"The database, postgres://…" placeholder:"URL" required:""`
	dataOptions
	adminOptions
	opsOptions
	listenOptions
	retentionOptions
}

// Run serves until ctx ends.
func (c *adminCmd) Run(ctx context.Context, log *slog.Logger) error {
	db, err := postgres.Open(ctx, postgres.Config{URL: c.Database, Log: log})
	if err != nil {
		return err
	}
	defer db.Close()
	r, err := newReplica(c.Database, replicaOptions{}, "", log)
	if err != nil {
		return err
	}
	d, err := openDoors(r, nil, c.opsOptions, c.listenOptions, log)
	if err != nil {
		return err
	}
	if err := d.addAdmin(r, db, c.adminOptions, c.retentionOptions); err != nil {
		return d.close(err)
	}
	return together(ctx, r.run, d.run)
}

// addAdmin adds the door that people change the configuration at.
func (d *doors) addAdmin(r *replica, db *postgres.DB, o adminOptions, keep retentionOptions) error {
	tokens := o.tokens()
	if len(tokens) == 0 {
		return errors.New("nobody could use the admin API: set TIERGATE_ADMIN_TOKEN")
	}
	ln, err := d.listen("admin", "--admin-addr", o.AdminAddr)
	if err != nil {
		return err
	}
	d.jobs = append(d.jobs, func(ctx context.Context) error { return d.watchLedger(ctx, db, keep) })
	app := admin.New(admin.Config{
		Flags: db, Tiers: db, Limits: db, Policies: db, Teams: db, Users: db,
		Tokens: tokens,
		Allow:  func(ctx context.Context, q admin.Question) (bool, error) { return allowed(ctx, r.engine, q) },
		AllowUnder: func(ctx context.Context, m map[string]string, q admin.Question) (bool, error) {
			return allowedUnder(ctx, r.engine, m, q)
		},
		Wait:      r.syncer.Wait,
		CheckFlag: func(f *tiergate.Flag) error { return checkFlag(r.engine, f) },
		CheckPolicy: func(ctx context.Context, m map[string]string) (admin.Verdict, error) {
			return checkPolicy(ctx, r.engine, m)
		},
		BuiltinPolicy: rego.Modules(),
		Observe:       d.metrics.Admin,
		Hosts:         listen.HostsOf([]string{o.AdminAddr}, d.options.Host),
		Log:           d.log,
		Version:       version,
	})
	d.jobs = append(d.jobs, func(ctx context.Context) error { return server.Serve(ctx, app, ln, drainTime) })
	return nil
}

func (o adminOptions) tokens() []admin.Token {
	var tokens []admin.Token
	for role, secret := range map[tiergate.PlatformRole]string{
		tiergate.PlatformAdmin: o.AdminToken, tiergate.PlatformEditor: o.EditorToken, tiergate.PlatformViewer: o.ViewerToken,
	} {
		if secret != "" {
			tokens = append(tokens, admin.TokenOf(secret, tiergate.Caller{ID: "token:" + string(role), Role: role}))
		}
	}
	return tokens
}

// allowed asks the policy in force who may do what. While none is, because the published one
// cannot be used, the built-in one answers for admins: any policy lets them publish another,
// and so they must be able to publish a better one. Others wait, because a published policy
// may have taken from them what the built-in one gives.
func allowed(ctx context.Context, e *evaluator.Engine, q admin.Question) (bool, error) {
	if g := e.Current(); g != nil {
		return ask(ctx, g.Policy(), q)
	}
	if q.Caller.Role != tiergate.PlatformAdmin {
		return false, tiergate.Errorf(tiergate.Unavailable, "no policy is in force, and until one is only admins may do something")
	}
	builtin, err := builtinPolicy()
	if err != nil {
		return false, err
	}
	return ask(ctx, builtin, q)
}

var builtinPolicy = sync.OnceValues(func() (*policy.Engine, error) { return policy.Compile(nil, policy.Definitions{}) })

// allowedUnder asks the policy that modules would make, before they are published.
func allowedUnder(ctx context.Context, e *evaluator.Engine, modules map[string]string, q admin.Question) (bool, error) {
	compiled, err := policy.Compile(modules, definitions(e))
	if err != nil {
		return false, err
	}
	return ask(ctx, compiled, q)
}

func ask(ctx context.Context, p *policy.Engine, q admin.Question) (bool, error) {
	return p.AllowAdmin(ctx, policy.AdminInput{
		Caller: q.Caller, Action: q.Action, Resource: map[string]any{"kind": q.Resource.Kind, "id": q.Resource.ID},
	})
}

// definitions are those in force, none before the first state.
func definitions(e *evaluator.Engine) policy.Definitions {
	if g := e.Current(); g != nil {
		return g.Definitions()
	}
	return policy.Definitions{}
}

// checkFlag compiles the targeting of a flag with the shared rules of its set.
func checkFlag(e *evaluator.Engine, f *tiergate.Flag) error {
	if len(f.Rules.Targeting) == 0 {
		return nil
	}
	var options targeting.Options
	if g := e.Current(); g != nil {
		if set := g.View().Set(f.Set); set != nil {
			options = targeting.Options{Evaluators: set.Evaluators, Fractional: set.Fractional}
		}
	}
	if _, err := targeting.Compile(f.Rules.Targeting, options); err != nil {
		return tiergate.FieldErrorf("rules.targeting", "%v", err)
	}
	return nil
}

// checkPolicy admits modules against the definitions in force.
func checkPolicy(ctx context.Context, e *evaluator.Engine, modules map[string]string) (admin.Verdict, error) {
	admission, err := policy.Admit(ctx, modules, definitions(e))
	if refused, ok := errors.AsType[*policy.Error](err); ok {
		var v admin.Verdict
		for _, p := range refused.Problems {
			v.Problems = append(v.Problems, admin.Spot{File: p.File, Row: p.Row, Col: p.Col, Message: p.Message})
		}
		return v, nil
	}
	if err != nil {
		return admin.Verdict{}, err
	}
	return admin.Verdict{Admission: admission, Hash: tiergate.ModulesHash(modules)}, nil
}
