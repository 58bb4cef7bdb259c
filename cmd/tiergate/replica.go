package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/policy"
	"github.com/tiergate/tiergate/postgres"
	syncer "github.com/tiergate/tiergate/sync"
)

// A replica is the configuration in memory and what keeps it in step with its source.
type replica struct {
	engine   *evaluator.Engine
	syncer   *syncer.Syncer
	problems func() []string             // what is wrong with the source's files
	probe    func(context.Context) error // one sentence when the source cannot be used
}

// newReplica wires source → syncer → engine. Nothing runs yet.
func newReplica(source string, o replicaOptions, dir string, log *slog.Logger) (*replica, error) {
	scheme, rest, _ := strings.Cut(source, ":")
	r := &replica{problems: func() []string { return nil }}
	var from tiergate.Source
	options := evaluator.Options{Log: log, Admitted: readmitted(log)}
	switch scheme {
	case "postgres", "postgresql":
		cfg := postgres.Config{URL: source, Log: log}
		from, scheme = postgres.NewFeed(cfg), "postgres"
		r.probe = func(ctx context.Context) error { return postgres.Check(ctx, cfg) }
	case "file":
		options.TrustContextTier = o.TrustContextTier
		files := syncer.NewFileSource(rest, syncer.FileOptions{
			Log: log,
			Admit: func(ctx context.Context, modules map[string]string) (string, error) {
				return policy.Admit(ctx, modules, policy.Definitions{})
			},
		})
		from, r.problems, r.probe = files, files.Problems, files.Check
	case "":
		return nil, errors.New("no source: say --source postgres://… or --source file:DIR")
	default:
		return nil, fmt.Errorf("the source %q is neither postgres://… nor file:DIR", scheme+":…")
	}
	r.engine = evaluator.New(options)
	r.syncer = syncer.New(syncer.Config{
		Source: from, Applier: r.engine, Name: scheme, Dir: dir, KeyFile: o.LKGKey, Log: log,
	})
	return r, nil
}

// readmitted says which policies may be loaded: those that this version admitted, and those
// that another version did, once they have been admitted anew, so that an upgrade does not
// leave a sidecar without a policy. It is asked by one goroutine.
func readmitted(log *slog.Logger) func(*tiergate.PolicyBundle) bool {
	verdicts := map[string]bool{} // by hash; few policies are ever in force
	return func(b *tiergate.PolicyBundle) bool {
		if b.Admission == policy.AdmissionID() {
			return true
		}
		if !policy.IsAdmission(b.Admission) {
			return false
		}
		if verdict, ok := verdicts[b.Hash]; ok {
			return verdict
		}
		_, err := policy.Admit(context.Background(), b.Modules, policy.Definitions{})
		if tiergate.CodeOf(err) == tiergate.Internal {
			log.Error("admission is not to be had", "policy", b.Version, "error", err)
			return false // and ask again
		}
		verdicts[b.Hash] = err == nil
		log.Warn("policy of another version admitted anew", "policy", b.Version, "admission", b.Admission, "admitted", err == nil, "error", err)
		return err == nil
	}
}

// run keeps the replica in step until ctx ends. It fails at once when there is nothing to
// serve: the source cannot be used and no last-known-good state came into force.
func (r *replica) run(ctx context.Context) error {
	serving := startLean()
	return together(ctx, r.syncer.Run, func(ctx context.Context) error {
		select {
		case <-r.syncer.Ready():
			serving()
		case <-ctx.Done():
		}
		return nil
	}, func(ctx context.Context) error {
		select {
		case <-r.syncer.Ready():
			return nil
		case <-ctx.Done():
			return nil
		case <-r.syncer.Tried():
		}
		select {
		case <-r.syncer.Ready(): // from the last-known-good state
			return nil
		default:
			return r.probe(ctx)
		}
	})
}
