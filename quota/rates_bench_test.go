package quota_test

import (
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/tiergate/tiergate/quota"
)

// A million keys of a rate that all owe something: what a take costs, and what a key does.
func BenchmarkRates(b *testing.B) {
	const keys = 1_000_000
	rate := perSecond(1, 1<<40)
	names := make([]string, keys)
	for i := range names {
		names[i] = "user-" + strconv.Itoa(i)
	}
	before := heap()
	r := quota.NewRates(keys)
	for _, name := range names {
		r.Take(r.Key("api-calls", "user", name), rate, 1000, 0)
	}
	perKey := float64(heap()-before) / keys
	var now atomic.Int64
	b.Run("take_one_key", func(b *testing.B) {
		k := r.Key("api-calls", "user", names[0])
		for b.Loop() {
			r.Take(k, rate, 1, now.Add(1))
		}
	})
	b.Run("take_1M_keys", func(b *testing.B) {
		for n := 0; b.Loop(); n = (n + 7919) % keys {
			r.Take(r.Key("api-calls", "user", names[n]), rate, 1, now.Add(1))
		}
		b.ReportMetric(perKey, "B/key")
		if r.Len() != keys {
			b.Errorf("%d keys", r.Len())
		}
	})
	b.Run("refuse", func(b *testing.B) {
		k := r.Key("api-calls", "user", names[1])
		for b.Loop() {
			r.Take(k, rate, 1<<40, now.Add(1))
		}
	})
	b.Run("key", func(b *testing.B) {
		for b.Loop() {
			r.Key("api-calls", "user", names[1])
		}
	})
	b.Run("parallel_1M_keys", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for n := int(now.Add(1)); pb.Next(); {
				n = (n + 7919) % keys
				r.Take(r.Key("api-calls", "user", names[n]), rate, 1, int64(n))
			}
		})
	})
	b.Run("parallel_one_key", func(b *testing.B) {
		k := r.Key("api-calls", "user", names[0])
		b.RunParallel(func(pb *testing.PB) {
			for n := int64(0); pb.Next(); n++ {
				r.Take(k, rate, 1, n)
			}
		})
	})
	runtime.KeepAlive(r)
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
