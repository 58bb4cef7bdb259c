package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tiergate/tiergate/policy"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

func TestMain(m *testing.M) {
	policy.AdmissionMain()
	if os.Getenv("TIERGATE_RUN_MAIN") == "1" { // a test has started us as the program
		main()
		return
	}
	for _, name := range []string{"TIERGATE_GRPC_ADDR", "TIERGATE_SYNC_ADDR"} { // unless a test wants one
		if err := os.Setenv(name, "none"); err != nil {
			panic(err)
		}
	}
	testscript.Main(withPostgres{m}, map[string]func(){"tiergate": main})
}

// withPostgres runs tests that may want a database.
type withPostgres struct{ *testing.M }

func (m withPostgres) Run() int { return pgtest.Run(m.M) }

// The command line does what its scripts say.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("TIERGATE_GRPC_ADDR", "none")
			e.Setenv("TIERGATE_SYNC_ADDR", "none")
			return nil
		},
	})
}
