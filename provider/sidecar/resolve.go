package sidecar

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/provider/internal/sdk"
)

// reasonStale is OpenFeature's word for an answer that may be out of date, which the SDK has no
// constant for.
const reasonStale openfeature.Reason = "STALE"

// resolve answers about one flag: from the cache what is still true, else from the sidecar, and
// while that is away with what was true last.
func (p *Provider) resolve(ctx context.Context, flag string, flat openfeature.FlattenedContext) sdk.Outcome {
	if flag == "" {
		return sdk.Failed(tiergate.FlagNotFound, "a flag has a name")
	}
	c := sdk.NewContext()
	defer c.Release()
	if err := c.Read(flat); err != nil { // 1. a context that is none has no answer, not even a kept one
		return sdk.Failed(tiergate.InvalidContext, err.Error())
	}
	everybody := key{flag: flag}
	if o, ok := p.cache.fresh(everybody); ok { // 2. what is the same for everybody
		return p.cached(o)
	}
	text := textOf(c)
	own := key{flag: flag, context: digestOf(text)}
	if o, ok := p.cache.fresh(own); ok { // 3. what this context was answered
		return p.cached(o)
	}
	if p.away.Load() { // 4. nobody waits for a sidecar that is away: contact finds it again
		if o, ok := p.last(everybody, own); ok {
			return o
		}
		if p.expired.Load() {
			return sdk.Failed(tiergate.General, "the sidecar has been away for so long that what is known is not used any more")
		}
		return sdk.Failed(tiergate.General, "the sidecar is away, and nothing is known of this flag")
	}
	o, err := p.ask(ctx, own, text) // 5. what it answers now
	if err == nil {
		return o
	}
	if o, ok := p.last(everybody, own); ok && errors.Is(err, errAway) {
		return o
	}
	return sdk.Failed(said(err), err.Error())
}

// cached is an answer that was kept. What is not told stays the caller's, for the same reason as
// before.
func (p *Provider) cached(o sdk.Outcome) sdk.Outcome {
	if p.old.Load() {
		o.FlagMetadata = markedStale(o.FlagMetadata)
	}
	if o.Value != nil {
		o.Reason = openfeature.CachedReason
	}
	return o
}

// last is what was true last, for as long as that is worth something.
func (p *Provider) last(keys ...key) (sdk.Outcome, bool) {
	if p.expired.Load() {
		return sdk.Outcome{}, false
	}
	o, ok := p.cache.last(keys...)
	if !ok {
		return o, false
	}
	if o.FlagMetadata = markedStale(o.FlagMetadata); o.Value != nil {
		o.Reason = reasonStale
	}
	return o, true
}

// markedStale is metadata of an answer that is kept for others too, for one who gets it as old.
func markedStale(m openfeature.FlagMetadata) openfeature.FlagMetadata {
	m = maps.Clone(m)
	if m == nil {
		m = openfeature.FlagMetadata{}
	}
	m["stale"] = true
	return m
}

// textOf is a context as JSON, the same for equal contexts; nil for none.
func textOf(c *sdk.Context) []byte {
	if c.Attributes.Len() == 0 {
		return nil
	}
	return appendSorted(nil, c.Attributes)
}

// appendSorted appends the JSON form of v with the members of objects in the order of their names.
func appendSorted(b []byte, v tiergate.Value) []byte {
	switch v.Kind() {
	case tiergate.ArrayValue:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendSorted(b, v.Index(i))
		}
		return append(b, ']')
	case tiergate.ObjectValue:
		order := make([]int, v.Len())
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(i, j int) int { return cmp.Compare(v.KeyAt(i), v.KeyAt(j)) })
		b = append(b, '{')
		for n, i := range order {
			if n > 0 {
				b = append(b, ',')
			}
			b = append(jsonvalue.AppendString(b, v.KeyAt(i)), ':')
			b = appendSorted(b, v.Index(i))
		}
		return append(b, '}')
	}
	return jsonvalue.Append(b, v)
}

func digestOf(context []byte) digest {
	sum := sha256.Sum256(context) // of no context too: the zero digest is for everybody
	return digest(sum[:len(digest{})])
}
