package main

import (
	"log/slog"
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/policy"
)

// A policy that another version admitted is admitted anew; one that nobody admitted is not loaded.
func TestReadmitted(t *testing.T) {
	const another = "opa-1.0.0-0123456789abcdef"
	good := map[string]string{"access.rego": "package tiergate.access\n\ndecision := {\"allow\": true, \"reason\": \"open\"}\n"}
	bad := map[string]string{"access.rego": "package tiergate.access\n\ndecision := http.send({\"url\": \"x\"})\n"}
	admitted := readmitted(slog.New(slog.DiscardHandler))
	for range 2 { // worked out, then remembered
		for story, c := range map[string]struct {
			modules   map[string]string
			admission string
			want      bool
		}{
			"admitted by this version":                {good, policy.AdmissionID(), true},
			"admitted by another version, good still": {good, another, true},
			"admitted by another version, bad now":    {bad, another, false},
			"never admitted":                          {good, "", false},
			"admitted by nobody in particular":        {good, "trust me", false},
		} {
			b := &tiergate.PolicyBundle{Modules: c.modules, Hash: tiergate.ModulesHash(c.modules), Admission: c.admission}
			if got := admitted(b); got != c.want {
				t.Errorf("a policy %s: %v", story, got)
			}
		}
	}
}
