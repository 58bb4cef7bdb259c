package spool

import (
	stdflag "flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("TIERGATE_TEST_VICTIM"); dir != "" {
		victim(dir) // never returns: it is killed
	}
	_ = stdflag.Set("rapid.checks", "2000") // the command line may say otherwise
	goleak.VerifyTestMain(m)
}
