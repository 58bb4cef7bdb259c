package postgres_test

import (
	"os"
	"testing"

	"github.com/tiergate/tiergate/postgres/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }
