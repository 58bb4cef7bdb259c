package examples_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/client"
)

// A job of a client holds a slot and units of the real limits, and settles once.
func TestClient_holds_for_a_job(t *testing.T) {
	c, err := client.New(client.Options{Target: "http://" + sidecar(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	train := client.Use{Feature: "model-training", Subject: client.Subject{User: "bob", Team: "globex"}}
	job, d, err := c.Hold(t.Context(), train, time.Minute)
	if err != nil || !d.Allow || len(job.Reservation.Holds) != 2 {
		t.Fatalf("%+v, %+v, %v", job, d, err)
	}
	if _, d, err := c.Hold(t.Context(), train, time.Minute); err != nil || d.Allow || d.Reason != tiergate.UseConcurrency {
		t.Errorf("a second job of a team with one slot: %+v, %v", d, err)
	}
	if r, err := c.Extend(t.Context(), job.Reservation.ID, 2*time.Minute); err != nil || !r.ExpiresAt.After(job.Reservation.ExpiresAt) {
		t.Errorf("extend: %+v, %v", r, err)
	}
	if r, err := job.Commit(t.Context(), client.Actual{Units: 1}); err != nil || r.State != tiergate.ReservationCommitted || r.Actual != 1 {
		t.Errorf("commit: %+v, %v", r, err)
	}
	if _, err := job.Release(t.Context()); tiergate.CodeOf(err) != tiergate.Conflict {
		t.Errorf("release after the commit: %v", err)
	}
	if r, err := c.Reservation(t.Context(), job.Reservation.ID); err != nil || r.State != tiergate.ReservationCommitted {
		t.Errorf("look: %+v, %v", r, err)
	}
	d, err = c.Check(t.Context(), train)
	left := map[string]int64{}
	for _, l := range d.Limits {
		left[l.Key] = l.Min
	}
	want := map[string]int64{"model-training-monthly": 4, "model-training-at-once": 1}
	if diff := cmp.Diff(want, left); err != nil || !d.Allow || diff != "" {
		t.Errorf("what is left after the job (-want +got): %v\n%s", err, diff)
	}
}
