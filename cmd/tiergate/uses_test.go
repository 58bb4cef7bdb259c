package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/tiergate/tiergate/internal/conformance"
)

// A sidecar on Postgres says over HTTP what was worked out by hand for the limits of the
// demo data.
func TestSidecar_counts_as_worked_out_by_hand(t *testing.T) {
	conformance.RunUses(t, func(t *testing.T) func(conformance.UseStep) conformance.UseAnswer {
		p := launch(t, dataDir(t), "sidecar", "--source", seeded(t).url())
		p.waitReady(t)
		return func(s conformance.UseStep) conformance.UseAnswer { return p.use(t, s) }
	})
}

// use asks the decision API. The ledger of a program may take it longer than a use waits to answer for
// the first time: until then it asks again, as nothing was taken.
func (p *program) use(t *testing.T, s conformance.UseStep) (a conformance.UseAnswer) {
	t.Helper()
	p.eventually(t, "the ledger answers", func() bool {
		a = p.useOnce(t, s)
		return p.counts || a.Reason != "UNAVAILABLE"
	})
	p.counts = true
	return a
}

func (p *program) useOnce(t *testing.T, s conformance.UseStep) conformance.UseAnswer {
	t.Helper()
	subject := map[string]any{}
	if s.User != "" {
		subject["user"] = s.User
	}
	if s.Team != "" {
		subject["team"] = s.Team
	}
	question := map[string]any{"feature": s.Feature, "subject": subject}
	if s.Cost != 0 {
		question["cost"] = s.Cost
	}
	body, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post("http://"+p.http+"/v1/"+s.Do, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Reason, Tier, Upgrade, DeniedBy string
		Status                          int
		Limits                          []struct {
			Key       string
			Remaining struct{ Max int64 }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s is answered with %d: %v", s.Do, body, resp.StatusCode, err)
	}
	got := conformance.UseAnswer{
		Reason: answer.Reason, Status: answer.Status, Tier: answer.Tier, Upgrade: answer.Upgrade, Denied: answer.DeniedBy, Left: map[string]int64{},
	}
	for _, l := range answer.Limits {
		got.Left[l.Key] = l.Remaining.Max
	}
	return got
}
