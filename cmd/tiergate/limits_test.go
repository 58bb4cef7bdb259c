package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// A machine is gone for good with what its sidecar held. The ledger sets that aside, says
// so, and gives it to nobody until somebody decides what becomes of it.
func TestLimits_of_a_lost_machine_are_listed_and_reconciled(t *testing.T) {
	db := seeded(t)
	dir := dataDir(t)
	gone := launch(t, dir, "sidecar", "--source", db.url())
	gone.waitReady(t)
	train := conformance.UseStep{Do: "consume", Feature: "model-training", Team: "acme"}
	if a := gone.use(t, train); a.Reason != "ALLOWED" {
		t.Fatal(a)
	}
	gone.eventually(t, "the usage has arrived", func() bool { return strings.Contains(gone.get("/status"), `"records":0`) })
	_ = gone.cmd.Process.Kill()
	<-gone.done
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, db.url(), `update holders set expires_at = now() - interval '1 hour'`) // as if so much time had passed

	other := launch(t, dataDir(t), "sidecar", "--source", db.url())
	other.waitReady(t)
	train.Cost = 90
	if a := other.use(t, train); a.Reason == "ALLOWED" {
		t.Fatalf("what a lost machine held was given to another: %+v", a)
	}
	listed, code := command(t, "limits", "list", "--database", db.url(), "--json", "--state", "forfeit")
	var l tiergate.HeldLease
	if err := json.Unmarshal([]byte(listed), &l); err != nil || code != 0 || !l.Lost || l.Reported != 1 || l.Aside == 0 || l.Counted.Used != 1 {
		t.Fatalf("%d, %v: %s", code, err, listed)
	}
	if table, code := command(t, "limits", "list", "--database", db.url()); code != 0 || !strings.Contains(table, l.Holder) || !strings.HasPrefix(table, "LIMIT") {
		t.Errorf("%d: %s", code, table)
	}
	said, code := command(t, "limits", "reconcile", "--database", db.url(), "--holder", l.Holder, "--how", "release", "--reason", "the machine is scrapped")
	if code != 0 || !strings.Contains(said, "free again") {
		t.Fatalf("%d: %s", code, said)
	}
	other.eventually(t, "what was set aside is free", func() bool { return other.use(t, train).Reason == "ALLOWED" })
}

// What a sidecar that lives holds cannot be reconciled.
func TestLimits_of_a_living_sidecar_stay_its_own(t *testing.T) {
	db := seeded(t)
	p := launch(t, dataDir(t), "sidecar", "--source", db.url())
	p.waitReady(t)
	if a := p.use(t, conformance.UseStep{Do: "consume", Feature: "model-training", Team: "acme"}); a.Reason != "ALLOWED" {
		t.Fatal(a)
	}
	var page struct{ Usage struct{ Holder string } }
	if err := json.Unmarshal([]byte(p.get("/status")), &page); err != nil {
		t.Fatal(err)
	}
	// What it has of the limit is leased, and nothing of it is set aside.
	table, code := command(t, "limits", "list", "--database", db.url())
	if head, _, _ := strings.Cut(table, "\n"); code != 0 || !slices.Contains(strings.Fields(head), "LEASED") || strings.Contains(head, "ASIDE") || !strings.Contains(table, "ACTIVE") {
		t.Errorf("%d: %s", code, table)
	}
	said, code := commandWithErr(t, "limits", "reconcile", "--database", db.url(), "--holder", page.Usage.Holder, "--how", "release", "--reason", "a mistake")
	if code != 1 || !strings.Contains(said, "only one that is lost can be reconciled") {
		t.Errorf("%d: %s", code, said)
	}
}
