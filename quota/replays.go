package quota

import (
	"strings"
	"sync"

	"github.com/tiergate/tiergate"
)

// maxReplays is how many keys are remembered here. One that was forgotten is still counted
// once: the ledger remembers it for longer.
const maxReplays = 1 << 16

// replays remembers what was taken under idempotency keys. Its zero value is empty.
type replays struct {
	mu    sync.Mutex
	known map[usageKey]*replay
	order []usageKey // of those that are done, the oldest first, from first on
	first int
}

// A replay is a key's use: being taken, or taken.
type replay struct {
	fingerprint string
	done        bool
	id          [16]byte
}

// begin claims a key. It returns the use that has been taken under it, or an error: Conflict
// while it is being taken, KeyReused when it stands for something else. Both nil means that
// the caller takes it, and then says so with end.
func (r *replays) begin(k *tiergate.UsageKey) (*replay, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := usageKey{k.Scope, k.Key}
	switch known := r.known[key]; {
	case known == nil:
		if r.known == nil {
			r.known = map[usageKey]*replay{}
		}
		r.known[cloneKey(key)] = &replay{fingerprint: strings.Clone(k.Fingerprint)}
		return nil, nil
	case known.fingerprint != k.Fingerprint:
		return nil, errReused()
	case !known.done:
		return nil, tiergate.Errorf(tiergate.Conflict, "a call with this idempotency key is being answered; ask again for its outcome")
	default:
		return known, nil
	}
}

// find returns the use that has been taken under a key, nil for none; errors as begin's.
func (r *replays) find(k *tiergate.UsageKey) (*replay, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.known[usageKey{k.Scope, k.Key}]
	switch {
	case known == nil || !known.done:
		return nil, nil
	case known.fingerprint != k.Fingerprint:
		return nil, errReused()
	}
	return known, nil
}

func errReused() error {
	return tiergate.Errorf(tiergate.KeyReused, "this idempotency key was used for another call")
}

// end says what became of a key that begin gave out: taken with an id, or not.
func (r *replays) end(k *tiergate.UsageKey, taken bool, id [16]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := usageKey{k.Scope, k.Key}
	known := r.known[key]
	if !taken {
		delete(r.known, key)
		return
	}
	known.done, known.id = true, id
	r.remember(cloneKey(key))
}

// restore takes in a key from the usage log of before a restart.
func (r *replays) restore(k *tiergate.UsageKey, id [16]byte) {
	if known, err := r.begin(k); known == nil && err == nil {
		r.end(k, true, id)
	}
}

// remember adds a key that is done, and forgets the oldest beyond the bound.
func (r *replays) remember(key usageKey) {
	if len(r.order) < maxReplays {
		r.order = append(r.order, key)
		return
	}
	delete(r.known, r.order[r.first])
	r.order[r.first] = key
	r.first = (r.first + 1) % maxReplays
}

func cloneKey(k usageKey) usageKey {
	return usageKey{strings.Clone(k.scope), strings.Clone(k.key)}
}

func cloneBucket(b tiergate.Bucket) tiergate.Bucket {
	return tiergate.Bucket{
		Limit: strings.Clone(b.Limit), Scope: strings.Clone(b.Scope), Subject: strings.Clone(b.Subject), Period: strings.Clone(b.Period),
	}
}
