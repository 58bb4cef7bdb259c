package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/provider/internal/sdk"
)

var errNotRunning = errors.New("the provider was not initialized, or was shut down")

// A flight is a question under way, for all who ask it at the same time.
type flight struct {
	done    chan struct{}
	number  uint64   // of the time at which it was asked, as the cache counts
	answers []answer // of one flag, or of all
	err     error
}

// bulkAgain is after how long all flags of a context are asked for at once again, when they could
// not be kept.
const bulkAgain = 10 * time.Second

// ask asks the sidecar about a flag, and keeps what may be kept.
func (p *Provider) ask(ctx context.Context, own key, text []byte) (sdk.Outcome, error) {
	if _, live := p.cache.now(); live && p.options.Bulk {
		all := key{context: own.context}
		if _, asked := p.cache.fresh(all); !asked {
			answers, err := p.fly(ctx, all, text)
			if err != nil {
				return sdk.Outcome{}, err
			}
			for i := range answers {
				if a := &answers[i]; a.Key == own.flag && !a.metered() {
					return a.outcome(), nil
				}
			}
		}
	}
	answers, err := p.fly(ctx, own, text)
	if err != nil {
		return sdk.Outcome{}, err
	}
	return answers[0].outcome(), nil
}

// fly waits for the answer to a question, and asks it when nobody has since the last change. Whoever
// stops waiting does not end it for the others.
func (p *Provider) fly(ctx context.Context, k key, text []byte) ([]answer, error) {
	f, err := p.takeOff(ctx, k, text)
	if err != nil {
		return nil, err
	}
	select {
	case <-f.done:
		return f.answers, f.err
	case <-ctx.Done():
		return nil, fmt.Errorf("ask the sidecar: %w", context.Cause(ctx))
	}
}

func (p *Provider) takeOff(ctx context.Context, k key, text []byte) (*flight, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	number, _ := p.cache.now()
	if f := p.flights[k]; f != nil && f.number == number {
		return f, nil
	}
	if p.running == nil {
		return nil, errNotRunning
	}
	f := &flight{done: make(chan struct{}), number: number}
	p.flights[k] = f
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.options.Timeout)
	stop := context.AfterFunc(p.running, cancel)
	p.fetching.Go(func() {
		defer cancel()
		defer stop()
		p.land(asking, f, k, text)
	})
	return f, nil
}

// land asks, keeps, and hands the answer to those who wait.
func (p *Provider) land(ctx context.Context, f *flight, k key, text []byte) {
	var r reply
	if k.flag == "" {
		r, f.err = p.door.all(ctx, text)
	} else {
		r, f.err = p.door.one(ctx, k.flag, text)
	}
	f.answers = r.answers
	switch {
	case f.err != nil:
		p.failed(f.err)
	case r.lasting:
		p.keep(f.number, k, &r)
	case k.flag == "": // until then each is asked for alone
		p.cache.put(f.number, r.at, k, sdk.Outcome{}, time.Now().Add(bulkAgain))
	}
	p.mu.Lock()
	if p.flights[k] == f { // and not one that was asked after a change
		delete(p.flights, k)
	}
	p.mu.Unlock()
	close(f.done)
}

// keep keeps those answers of a reply that hold until something changes; what is STATIC is the
// same for everybody, but for the tier that it tells.
func (p *Provider) keep(number uint64, k key, r *reply) {
	for i := range r.answers {
		a := &r.answers[i]
		if !a.keepable() || a.Key == "" || k.flag != "" && a.Key != k.flag {
			continue
		}
		o, to := a.outcome(), key{flag: a.Key, context: k.context}
		if a.Reason == openfeature.StaticReason {
			to.context = digest{}
			o.FlagMetadata = withoutTier(o.FlagMetadata)
		}
		p.cache.put(number, r.at, to, o, r.until)
	}
	if k.flag == "" {
		p.cache.put(number, r.at, k, sdk.Outcome{}, r.until)
	}
}

func withoutTier(m openfeature.FlagMetadata) openfeature.FlagMetadata {
	if _, ok := m["tier"]; !ok {
		return m
	}
	others := make(openfeature.FlagMetadata, len(m))
	for name, v := range m {
		if name != "tier" {
			others[name] = v
		}
	}
	return others
}

// failed makes the work look whether the sidecar is there, when a question says otherwise.
func (p *Provider) failed(err error) {
	if !errors.Is(err, errAway) || p.away.Load() {
		return
	}
	select {
	case p.doubt <- struct{}{}:
	default:
	}
}

// said is what an error of the sidecar means to OpenFeature: the one place where that is said.
func said(err error) tiergate.ErrorCode {
	busy, ok := errors.AsType[*busyError](err)
	if ok && busy.status == http.StatusServiceUnavailable || errors.Is(err, errNotRunning) {
		return tiergate.ProviderNotReady
	}
	return tiergate.General
}
