package server_test

import (
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/server"
)

// What a caller names and what its key is bound to choose the set that the evaluator is asked
// about.
func TestSetFor_chooses_the_set(t *testing.T) {
	e := evaluator.New(evaluator.Options{})
	err := e.Apply(t.Context(), tiergate.Revision{
		Resume: tiergate.Resume{Epoch: "0123456789abcdef", Rev: 7}, Whole: true, Changes: tiergate.ChangesOf(conformance.Sets()...),
	})
	if err != nil {
		t.Fatal(err)
	}
	gen := e.Generation()
	conformance.RunSets(t, conformance.SetDoor{Selectors: true, Bulk: true}, func(_ *testing.T, c conformance.SetCase) conformance.SetAnswer {
		named, err := server.Selected(c.Select())
		req := &tiergate.Request{Flag: c.Flag}
		if err == nil {
			req.Set, err = server.SetFor(named, c.Key())
		}
		if err != nil {
			return conformance.SetAnswer{Refused: tiergate.CodeOf(err)}
		}
		d := gen.Decide(req)
		a := conformance.SetAnswer{Variant: d.Variant, ErrorCode: string(d.ErrorCode)}
		for d := range gen.All(req) {
			a.All = append(a.All, d.Flag)
		}
		return a
	})
}
