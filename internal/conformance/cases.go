package conformance

import (
	_ "embed"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/demo"
)

//go:embed cases.json
var casesJSON []byte

// A Case is one question and the answer that every door must give on the demo data.
type Case struct {
	Story   string         `json:"story"` // what happens, as a sentence
	Flag    string         `json:"flag"`
	Context map[string]any `json:"context"`
	Want    Answer         `json:"want"`
}

// An Answer is what a door says. Fields that a protocol does not carry with an error stay zero.
type Answer struct {
	Value     any    `json:"value"` // nil: the caller's code default applies
	Variant   string `json:"variant"`
	Reason    string `json:"reason"`
	ErrorCode string `json:"errorCode"`
	Tier      string `json:"tier"`
	Denied    bool   `json:"denied"`
	Upgrade   string `json:"upgrade"`
}

// Cases returns the table.
func Cases() []Case {
	var cases []Case
	if err := json.Unmarshal(casesJSON, &cases); err != nil {
		panic("tiergate: bug: cases.json: " + err.Error())
	}
	return cases
}

// Run asks a door every case.
func Run(t *testing.T, door func(t *testing.T, c Case) Answer) {
	t.Helper()
	for _, c := range Cases() {
		t.Run(strings.ReplaceAll(strings.TrimSuffix(c.Story, "."), " ", "_"), func(t *testing.T) {
			if diff := cmp.Diff(c.Want, door(t, c)); diff != "" {
				t.Errorf("%s\n%s for %v mismatch (-want +got):\n%s", c.Story, c.Flag, c.Context, diff)
			}
		})
	}
}

// Demo returns the data that the cases are about.
func Demo() []tiergate.Change { return demo.Data() }
