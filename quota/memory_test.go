package quota_test

import (
	"testing"
	"time"

	"github.com/tiergate/tiergate/quota"
	"github.com/tiergate/tiergate/quota/ledgertest"
)

// Every rule of a ledger, in memory.
func TestMemory_keeps_the_rules(t *testing.T) { ledgertest.Run(t, memoryWorld()) }

// Whatever is sent, every bucket is the sum of what hangs on it.
func TestMemory_keeps_its_sums(t *testing.T) { ledgertest.Machine(t, memoryWorld()) }

func memoryWorld() ledgertest.World {
	now := ledgertest.Start
	m := &quota.Memory{Now: func() time.Time { return now }}
	return ledgertest.World{
		Ledger: m, Set: func(t time.Time) { now = t }, Failover: m.Failover, Reset: func() { quota.Forget(m) },
		Sums: func() []ledgertest.Sum {
			var out []ledgertest.Sum
			for _, s := range quota.SumsOf(m) {
				out = append(out, ledgertest.Sum{Bucket: s.Bucket, Amount: s.Amount, Rev: s.Rev, Kept: counted(s.Kept), Followed: counted(s.Followed)})
			}
			return out
		},
	}
}

func counted(n [4]int64) ledgertest.Counted {
	return ledgertest.Counted{Used: n[0], Leased: n[1], Reserved: n[2], Forfeited: n[3]}
}
