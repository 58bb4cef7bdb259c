package quota_test

import (
	"math"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota"
)

// A plainKey is one key of a rate limit by the book, in fractions: what it owes in units at
// a time, and the rate under which it does.
type plainKey struct {
	rate quota.Rate
	owed *big.Rat
	at   int64
}

func rat(n int64) *big.Rat { return new(big.Rat).SetInt64(n) }

func product(factors ...*big.Rat) *big.Rat {
	p := rat(1)
	for _, f := range factors {
		p.Mul(p, f)
	}
	return p
}

func floor(r *big.Rat) *big.Int { return new(big.Int).Div(r.Num(), r.Denom()) }

func ceiling(r *big.Rat) *big.Int {
	return new(big.Int).Neg(new(big.Int).Div(new(big.Int).Neg(r.Num()), r.Denom()))
}

func duration(r *big.Rat) time.Duration {
	if n := ceiling(r); n.IsInt64() {
		return time.Duration(n.Int64())
	}
	return math.MaxInt64
}

func period(r quota.Rate) *big.Rat {
	if r.Period == "minute" {
		return rat(6e10)
	}
	return rat(1e9)
}

// shared is the part of some units that is counted here.
func shared(n, share int64, r quota.Rate) *big.Rat {
	part := product(rat(n), big.NewRat(share, 1_000_000))
	if r.Amount > 1<<42 {
		return new(big.Rat).SetInt(floor(part))
	}
	return part
}

// speed is in units per nanosecond.
func speed(r quota.Rate) *big.Rat {
	return new(big.Rat).Quo(shared(r.Amount, r.Share, r), period(r))
}

func larger(a, b *big.Rat) *big.Rat {
	if a.Cmp(b) > 0 {
		return a
	}
	return b
}

func (k *plainKey) owes(now int64) *big.Rat {
	if k.owed == nil {
		return rat(0)
	}
	paid := product(speed(k.rate), rat(now-k.at))
	return larger(rat(0), new(big.Rat).Sub(k.owed, paid))
}

// grain is the smallest part of a unit that is counted.
func grain(r quota.Rate) *big.Rat {
	if r.Share != quota.Whole && r.Amount <= 1<<42 {
		return product(period(r), rat(1_000_000))
	}
	return period(r)
}

// under changes the rate. The same units are owed, rounded up to what is counted.
func (k *plainKey) under(r quota.Rate, now int64) {
	if k.owed != nil && k.rate != r {
		k.owed, k.at = k.owes(now), now
		parts := new(big.Rat).SetInt(ceiling(product(k.owed, grain(r))))
		k.owed.Quo(parts, grain(r))
	}
	k.rate = r
}

func (k *plainKey) ask(r quota.Rate, cost, now int64, take bool) (bool, quota.RateState) {
	if r.Amount == 0 || r.Share == 0 {
		return false, quota.RateState{RetryAfter: quota.Never, ResetsIn: quota.Never}
	}
	k.under(r, now)
	owed, burst := k.owes(now), shared(r.Burst, r.Share, r)
	state := func(owed *big.Rat, retry time.Duration) quota.RateState {
		left := floor(larger(rat(0), new(big.Rat).Sub(larger(burst, rat(1)), owed)))
		return quota.RateState{Remaining: left.Int64(), RetryAfter: retry, ResetsIn: duration(new(big.Rat).Quo(owed, speed(r)))}
	}
	if cost < 0 || cost > r.Burst {
		return false, state(owed, quota.Never)
	}
	after := new(big.Rat).Add(owed, rat(cost))
	if over := new(big.Rat).Sub(after, larger(burst, rat(cost))); over.Sign() > 0 {
		return false, state(owed, duration(over.Quo(over, speed(r))))
	}
	if !take {
		return true, state(owed, 0)
	}
	k.owed, k.at = after, now
	return true, state(after, 0)
}

func (k *plainKey) undo(r quota.Rate, cost, at, now int64) {
	if k.owed == nil || cost > r.Burst || r.Amount == 0 || r.Share == 0 {
		return
	}
	if speed(k.rate).Cmp(speed(r)) != 0 || grain(k.rate).Cmp(grain(r)) != 0 {
		return
	}
	refund := new(big.Rat).Sub(rat(cost), product(speed(r), rat(now-at)))
	if refund.Sign() > 0 {
		k.owed.Sub(k.owed, refund)
	}
}

func anyAmount(max int64) *rapid.Generator[int64] {
	return rapid.OneOf(rapid.Int64Range(0, 100), rapid.Int64Range(1, max), rapid.SampledFrom([]int64{1, 3, 7, 1_000_000_007, 1 << 42, 1<<42 + 1, max}))
}

func anyRate() *rapid.Generator[quota.Rate] {
	return rapid.Custom(func(t *rapid.T) quota.Rate {
		return quota.Rate{
			Amount: anyAmount(tiergate.MaxAmount).Draw(t, "amount"), Period: rapid.SampledFrom([]string{"second", "minute"}).Draw(t, "period"),
			Burst: max(1, anyAmount(tiergate.MaxAmount).Draw(t, "burst")),
			Share: rapid.SampledFrom([]int64{quota.Whole, quota.Whole, 500_000, 333_333, 62_500, 1, 0}).Draw(t, "share"),
		}
	})
}

// Any calls with any rates, for more keys than there is room for, are answered as by
// fractions that are never rounded and never forgotten; only while all keys that there is
// room for owe something, unknown ones are refused.
func TestRates_answer_as_fractions_would(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		room := rapid.IntRange(1, 12).Draw(t, "room")
		rates, model := quota.NewRates(room), map[int]*plainKey{}
		known := rapid.SliceOfN(anyRate(), 1, 3).Draw(t, "rates")
		homes := rapid.SliceOfN(rapid.Uint64(), 1, 4).Draw(t, "homes") // few, so that keys meet
		now := rapid.Int64Range(0, 1<<50).Draw(t, "begin")
		type taken struct {
			key  int
			rate quota.Rate
			cost int64
			at   int64
		}
		var takes []taken
		busy := func() (n int) {
			for _, k := range model {
				n += k.owes(now).Sign()
			}
			return n
		}
		key := func(i int) quota.RateKey { return quota.RateKeyOf(uint64(i), homes[i%len(homes)]) }
		t.Repeat(map[string]func(*rapid.T){
			"wait": func(t *rapid.T) {
				now += rapid.OneOf(rapid.Int64Range(0, 100), rapid.Int64Range(0, int64(time.Minute)), rapid.Int64Range(0, int64(1000*time.Hour))).Draw(t, "ns")
			},
			"undo": func(t *rapid.T) {
				if len(takes) == 0 {
					t.Skip("nothing was taken")
				}
				last := takes[len(takes)-1]
				takes = takes[:len(takes)-1]
				rates.Undo(key(last.key), last.rate, last.cost, last.at, now)
				model[last.key].undo(last.rate, last.cost, last.at, now)
			},
			"ask": func(t *rapid.T) {
				i, rate := rapid.IntRange(0, 2*room).Draw(t, "key"), rapid.SampledFrom(known).Draw(t, "rate")
				cost := rapid.OneOf(rapid.Int64Range(-1, 5), rapid.Int64Range(max(1, rate.Burst/2), rate.Burst), rapid.Just(rate.Burst+1)).Draw(t, "cost")
				late := rapid.SampledFrom([]int64{0, 0, 1, int64(time.Hour)}).Draw(t, "the clock is behind by")
				ask, take := rates.Take, rapid.Bool().Draw(t, "take")
				if !take {
					ask = rates.Peek
				}
				rates.Peek(quota.RateKeyOf(1<<40, 1), quota.Rate{Amount: 1, Period: "second", Share: quota.Whole}, 0, now) // it is now
				ok, got := ask(key(i), rate, cost, max(0, now-late))
				if got.Full {
					wait := time.Duration(math.MaxInt64)
					for _, k := range model {
						if owes := k.owes(now); owes.Sign() > 0 {
							wait = min(wait, duration(new(big.Rat).Quo(owes, speed(k.rate))))
						}
					}
					if ok || got.Remaining != 0 || busy() != room || got.RetryAfter < 1 || got.RetryAfter > wait || got.ResetsIn != got.RetryAfter {
						t.Fatalf("no room, %v %+v, while %d of %d keys owe something, the first for %v more", ok, got, busy(), room, wait)
					}
					return
				}
				full := busy() == room && (model[i] == nil || model[i].owes(now).Sign() == 0)
				if model[i] == nil {
					model[i] = &plainKey{}
				}
				wantOK, want := model[i].ask(rate, cost, now, take && cost > 0)
				if diff := cmp.Diff(want, got); ok != wantOK || diff != "" {
					t.Fatalf("%v, want %v: (-want +got):\n%s", ok, wantOK, diff)
				}
				if ok && cost > 0 && full {
					t.Fatalf("a new key is let through, while all %d keys owe something", room)
				}
				if ok && take && cost > 0 {
					takes = append(takes, taken{i, rate, cost, now})
				}
			},
			"": func(t *rapid.T) {
				if n := rates.Len(); n > room {
					t.Fatalf("%d keys, where there is room for %d", n, room)
				}
			},
		})
	})
}
