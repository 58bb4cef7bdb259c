package flagd

import (
	"bytes"
	"encoding/json"

	"github.com/tiergate/tiergate"
)

// Own returns a copy of a flag or set of a File that shares no memory with it: who keeps a few of a
// File's flags for long keeps neither the document that it was read from nor its other flags.
// Anything else is returned as it is.
func Own(thing any) any {
	switch t := thing.(type) {
	case *tiergate.Flag:
		own := *t
		own.Variants, own.Rules.Targeting = ownTexts(t.Variants), bytes.Clone(t.Rules.Targeting)
		return &own
	case *tiergate.FlagSet:
		own := *t
		own.Evaluators = ownTexts(t.Evaluators)
		return &own
	}
	return thing
}

func ownTexts(texts map[string]json.RawMessage) map[string]json.RawMessage {
	if texts == nil {
		return nil
	}
	own := make(map[string]json.RawMessage, len(texts))
	for name, text := range texts {
		own[name] = bytes.Clone(text)
	}
	return own
}
