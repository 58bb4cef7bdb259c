package provider_test

import (
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/provider"
	"github.com/tiergate/tiergate/provider/internal/sdktest"
)

// In process, through the SDK, the demo data leads to the decisions that were worked out by hand.
func TestInProcess_decides_as_worked_out_by_hand(t *testing.T) {
	c := client(t, provider.InProcess(fixed(conformance.Demo()), provider.Options{}))
	conformance.Run(t, func(t *testing.T, tc conformance.Case) conformance.Answer { return sdktest.Ask(t, c, tc) })
}

// Each type of the SDK gets what it asks for, and an error otherwise.
func TestInProcess_types(t *testing.T) {
	c := client(t, provider.InProcess(fixed(append(conformance.Demo(), sdktest.Flags()...)), provider.Options{}))
	sdktest.Types(t, c)
}

// What the answers tell beside the value fills the events of the SDK's telemetry.
func TestInProcess_metadata(t *testing.T) {
	set := &tiergate.FlagSet{Name: tiergate.DefaultSet, Metadata: map[string]any{"owner": "web"}}
	c := client(t, provider.InProcess(fixed(append(conformance.Demo(), tiergate.PutOf(set))), provider.Options{}))
	sdktest.Metadata(t, c, "fixed-1")
}
