package quota

import (
	"sync"
	"sync/atomic"

	"github.com/tiergate/tiergate"
)

// shares are this process's parts of the rates that all share. Its zero value has none.
type shares struct {
	mu     sync.RWMutex
	byRate map[tiergate.Bucket]*rateShare
}

type rateShare struct {
	bucket      tiergate.Bucket
	amount, rev int64
	millionths  int64
	until       int64 // on the engine's clock; 0 before the ledger said anything
	usedAt      atomic.Int64
}

// maxShares is how many shared rates are asked for at once; others get the fallback.
const maxShares = 10_000

// of returns the part that this process has of a claim's rate, in millionths: what the
// ledger said, as long as that holds, and else a fallback. news says that the ledger should
// be asked soon.
func (s *shares) of(c *Claim, now, fallback int64) (millionths int64, news bool) {
	key := tiergate.Bucket{Limit: c.Key, Scope: c.Scope, Subject: c.Subject}
	s.mu.RLock()
	r := s.byRate[key]
	if r != nil && r.amount == c.Amount && now < r.until {
		millionths = r.millionths
		r.usedAt.Store(now)
		s.mu.RUnlock()
		return millionths, false
	}
	s.mu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byRate == nil {
		s.byRate = map[tiergate.Bucket]*rateShare{}
	}
	if r = s.byRate[key]; r == nil {
		if len(s.byRate) >= maxShares {
			return fallback, false
		}
		r = &rateShare{bucket: cloneBucket(key)}
		s.byRate[r.bucket] = r
		news = true
	}
	r.amount, r.rev = c.Amount, c.Rev
	r.usedAt.Store(now)
	if now < r.until {
		return r.millionths, news
	}
	return fallback, news
}

// asks lists the rates that were used lately, and forgets the others.
func (s *shares) asks(now int64) []tiergate.RateAsk {
	s.mu.Lock()
	defer s.mu.Unlock()
	var asks []tiergate.RateAsk
	for key, r := range s.byRate {
		if now-r.usedAt.Load() > idleFor {
			delete(s.byRate, key)
			continue
		}
		asks = append(asks, tiergate.RateAsk{Bucket: key, Amount: r.amount, Rev: r.rev})
	}
	return asks
}

// hear takes in what the ledger gave.
func (s *shares) hear(asks []tiergate.RateAsk, millionths []int64, until int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range asks {
		if r := s.byRate[asks[i].Bucket]; r != nil {
			r.millionths, r.until = millionths[i], until
		}
	}
}
