package sidecar

import "time"

// LookEvery sets after how long at most it looks at the sidecar, before it is initialized.
func (p *Provider) LookEvery(d time.Duration) { p.looksEvery = d }

// Follows reports whether the event stream is connected.
func (p *Provider) Follows() bool {
	_, live := p.cache.now()
	return live
}

// Kept is how many answers are kept.
func (p *Provider) Kept() int {
	p.cache.mu.Lock()
	defer p.cache.mu.Unlock()
	return len(p.cache.byKey)
}
