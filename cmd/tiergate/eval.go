package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// evalCmd evaluates once and prints one JSON object per flag.
type evalCmd struct {
	Flag    string `arg:"" optional:"" help:"The flag; all flags of the set when it is left out."`
	Set     string `help:"The flag set." default:"default"`
	Context string `help:"The evaluation context, a JSON object." default:"{}" placeholder:"JSON"`
	User    string `help:"The user; beats the context's targetingKey." placeholder:"ID"`
	Team    string `help:"The team; beats the context's teamId." placeholder:"ID"`
	replicaOptions
}

// An evaluation is the JSON form of a decision.
type evaluation struct {
	Flag      string             `json:"flag"`
	Value     json.RawMessage    `json:"value,omitempty"` // left out: the code default applies
	Variant   string             `json:"variant"`
	Reason    tiergate.Reason    `json:"reason"`
	ErrorCode tiergate.ErrorCode `json:"errorCode,omitempty"`
	Details   string             `json:"errorDetails,omitempty"`
	Tier      string             `json:"tier,omitempty"`
	Denied    bool               `json:"denied,omitempty"`
	Why       string             `json:"denyReason,omitempty"`
	Upgrade   string             `json:"upgrade,omitempty"`
	Revision  string             `json:"revision"`
}

// Run waits for the first state of the source, then decides. A flag that cannot be
// evaluated makes the command fail after it has been printed.
func (c *evalCmd) Run(ctx context.Context, log *slog.Logger, out console) error {
	req, err := c.request()
	if err != nil {
		return err
	}
	r, err := newReplica(c.Source, c.replicaOptions, "", log)
	if err != nil {
		return err
	}
	err = together(ctx, r.run, func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-r.syncer.Ready():
		}
		return cmp.Or(c.print(r.engine.Generation(), req, out), errDone)
	})
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

// errDone ends what runs beside a job that has done its work.
var errDone = errors.New("done")

func (c *evalCmd) request() (*tiergate.Request, error) {
	attributes, err := jsonvalue.Parse([]byte(c.Context))
	if err != nil {
		return nil, fmt.Errorf("read --context: %w", err)
	}
	if attributes.Kind() != tiergate.ObjectValue {
		return nil, errors.New("--context is not a JSON object")
	}
	req := &tiergate.Request{
		Set: c.Set, Flag: c.Flag, Attributes: attributes, UserID: c.User, TeamID: c.Team, Now: time.Now(),
	}
	for name, field := range map[string]*string{"targetingKey": &req.UserID, "teamId": &req.TeamID} {
		switch v := attributes.Field(name); {
		case *field != "" || !v.IsDefined() || v.Kind() == tiergate.Null:
		case v.Kind() != tiergate.StringValue:
			return nil, fmt.Errorf("--context: %s is not a string", name)
		default:
			*field = v.Text()
		}
	}
	return req, nil
}

func (c *evalCmd) print(g tiergate.Generation, req *tiergate.Request, out console) error {
	enc := json.NewEncoder(out.out)
	if c.Flag == "" {
		for d := range g.All(req) {
			if err := enc.Encode(evaluationOf(g, d)); err != nil {
				return err
			}
		}
		return nil
	}
	d := g.Decide(req)
	if err := enc.Encode(evaluationOf(g, d)); err != nil {
		return err
	}
	if d.ErrorCode != "" {
		return fmt.Errorf("evaluate %q: %s: %s", c.Flag, d.ErrorCode, d.ErrorDetails)
	}
	return nil
}

func evaluationOf(g tiergate.Generation, d tiergate.Decision) evaluation {
	return evaluation{
		Flag: d.Flag, Value: d.Value, Variant: d.Variant, Reason: d.Reason, ErrorCode: d.ErrorCode,
		Details: d.ErrorDetails, Tier: d.Tier, Denied: d.Denied, Why: d.DenyReason, Upgrade: d.Upgrade,
		Revision: g.Resume().Revision(),
	}
}
