package policy_test

import (
	"flag"
	"os"
	"testing"

	"github.com/tiergate/tiergate/policy"
)

func TestMain(m *testing.M) {
	policy.AdmissionMain() // this test binary is the child that admits
	flag.Parse()
	_ = flag.Set("rapid.nofailfile", "true") // the failure prints its seed
	os.Exit(m.Run())
}
