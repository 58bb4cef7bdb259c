package policy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/tiergate/tiergate"
)

// Definitions are what policies may read besides the input, as data.tiergate.definitions:
//
//	tiers   {key: {key, name, rank}}
//	limits  {feature: [{key, kind, period, zone, anchor, scope, class, cost, onUnavailable, amounts, bursts}]}
//	config  whatever an operator puts there
//
// They lie below "definitions", not beside the packages, because data.tiergate.limits is
// already the package of the built-in limits. The zero value defines nothing.
type Definitions struct {
	Tiers  []tiergate.Tier
	Limits []tiergate.Limit
	Config json.RawMessage // a JSON value; nil is {}
}

// maxDefinitions bounds their size as JSON: they are looked at by every evaluation.
const maxDefinitions = 256 << 10

// definitions are Definitions, read.
type definitions struct {
	tiers []string    // the keys, lowest rank first
	terms []*ast.Term // of tiers
	data  ast.Object
}

// Get reads definitions for an evaluation, by a path of members, without a way through the
// store: they never change. What is not found so, OPA looks for in the store.
func (d *definitions) Get(ref ast.Ref) ast.Value {
	if len(ref) == 1 { // all data is not only the store's
		return nil
	}
	var at ast.Value = d.data
	for _, member := range ref[1:] {
		object, ok := at.(ast.Object)
		if _, isText := member.Value.(ast.String); !ok || !isText {
			return nil
		}
		found := object.Get(member)
		if found == nil {
			return nil
		}
		at = found.Value
	}
	return at
}

// Put does nothing.
func (*definitions) Put(ast.Ref, ast.Value) {}

// intern returns the tier's key as the definitions have it, so that answers share it, and
// whether they do.
func (d *definitions) intern(tier string) (string, bool) {
	for _, key := range d.tiers {
		if key == tier {
			return key, true
		}
	}
	return strings.Clone(tier), false
}

// term returns a tier as a term, the same one for each that is defined.
func (d *definitions) term(tier string) *ast.Term {
	if tier == "" {
		return noText
	}
	for i, key := range d.tiers {
		if key == tier {
			return d.terms[i]
		}
	}
	return textTerm(tier)
}

var noText = ast.StringTerm("")

type limitDocument struct {
	Key           string             `json:"key"`
	Kind          tiergate.LimitKind `json:"kind"`
	Scope         string             `json:"scope"`
	Class         string             `json:"class"`
	Period        string             `json:"period"`
	Zone          string             `json:"zone"`
	Anchor        string             `json:"anchor"`
	Amounts       map[string]*int64  `json:"amounts"`
	Bursts        map[string]int64   `json:"bursts"`
	Cost          int64              `json:"cost"`
	OnUnavailable string             `json:"onUnavailable"`
}

func documentOf(l *tiergate.Limit) limitDocument {
	class := l.Class
	if class == "" {
		class = "exact"
		if l.Kind == tiergate.Rate {
			class = "local"
		}
	}
	d := limitDocument{
		Key: l.Key, Kind: l.Kind, Scope: l.Scope, Class: class, Period: l.Period, Zone: l.Zone, Anchor: l.Anchor,
		Amounts: l.Amounts, Bursts: l.Bursts,
		Cost: max(l.Cost, 1), OnUnavailable: cmp.Or(l.OnUnavailable, "deny"),
	}
	if d.Amounts == nil {
		d.Amounts = map[string]*int64{}
	}
	if d.Bursts == nil {
		d.Bursts = map[string]int64{}
	}
	return d
}

func (d Definitions) read() (definitions, error) {
	type tier struct {
		Key  string `json:"key"`
		Name string `json:"name"`
		Rank int    `json:"rank"`
	}
	tiers, limits := map[string]tier{}, map[string][]limitDocument{}
	for _, t := range d.Tiers {
		tiers[t.Key] = tier{t.Key, t.Name, t.Rank}
	}
	for i := range d.Limits {
		l := &d.Limits[i]
		limits[l.Feature] = append(limits[l.Feature], documentOf(l))
	}
	config := d.Config
	if len(config) == 0 {
		config = json.RawMessage("{}")
	}
	text, err := json.Marshal(map[string]any{"tiers": tiers, "limits": limits, "config": config})
	if err != nil {
		return definitions{}, refuse("", "the definitions are no JSON: %v", err)
	}
	if len(text) > maxDefinitions {
		return definitions{}, refuse("", "the definitions of tiers, limits and configuration are %d bytes, more than %d", len(text), maxDefinitions)
	}
	value, err := ast.ValueFromReader(bytes.NewReader(text))
	if err != nil {
		return definitions{}, refuse("", "the definitions are no JSON: %v", err)
	}
	sorted := slices.SortedFunc(slices.Values(d.Tiers), func(a, b tiergate.Tier) int {
		return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.Key, b.Key))
	})
	out := definitions{data: ast.NewObject(ast.Item(ast.StringTerm("tiergate"), ast.ObjectTerm(
		ast.Item(ast.StringTerm("definitions"), ast.NewTerm(value)))))}
	for _, t := range sorted {
		out.tiers, out.terms = append(out.tiers, t.Key), append(out.terms, textTerm(t.Key))
	}
	return out, nil
}

// open puts the definitions into a store and opens the one transaction that reads it.
func (d *definitions) open() (storage.Store, storage.Transaction, error) {
	store := inmem.NewFromASTObject(d.data)
	txn, err := store.NewTransaction(context.Background())
	if err != nil {
		return nil, nil, fmt.Errorf("open the definitions: %w", err)
	}
	return store, txn, nil
}
