// Package pgtest gives tests a real Postgres: one private cluster per test process, a
// fresh migrated database per test, cloned from a template.
package pgtest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tiergate/tiergate/internal/localpg"
	"github.com/tiergate/tiergate/postgres"
)

var (
	start    = sync.OnceValues(startCluster)
	running  atomic.Pointer[localpg.Cluster]
	mayRun   atomic.Bool
	template sync.Mutex // CREATE DATABASE wants nobody in the template
	count    atomic.Int64
)

const templateName = "template_tiergate"

// Run runs the tests of a package and then stops the cluster, if any test wanted it. A
// package's TestMain is os.Exit(pgtest.Run(m)).
func Run(m interface{ Run() int }) int {
	mayRun.Store(true)
	code := m.Run()
	if c := running.Load(); c != nil {
		if err := c.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "pgtest:", err)
			code = max(code, 1)
		}
		_ = os.RemoveAll(dir)
	}
	return code
}

var dir string

func startCluster() (*localpg.Cluster, error) {
	var err error
	if dir, err = os.MkdirTemp("", "tiergate-pg-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // the server's uid may be another
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := localpg.Start(ctx, localpg.Config{Dir: dir, Settings: map[string]string{
		"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
		"max_connections": "200", "shared_buffers": "128MB", "autovacuum_naptime": "10s",
	}})
	if err != nil {
		return nil, err
	}
	running.Store(c)
	if err := exec(ctx, c.URL("postgres"), "create database "+templateName); err != nil {
		return nil, err
	}
	return c, postgres.Migrate(ctx, c.URL(templateName), postgres.MigrateOptions{})
}

// Folder makes a folder for a cluster of a test's own: every uid can enter it, which
// t.TempDir is not, so that nothing is left elsewhere.
func Folder(t testing.TB) string {
	t.Helper()
	d, err := os.MkdirTemp("", "tiergate-pg-") //nolint:usetesting // only its owner can enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d) })
	if err := os.Chmod(d, 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

// Cluster returns the cluster of this test process, and starts it when it is the first.
func Cluster(t testing.TB) *localpg.Cluster {
	t.Helper()
	if !mayRun.Load() {
		t.Fatal("pgtest: the package needs func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }")
	}
	c, err := start()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return c
}

// New makes a fresh migrated database, dropped after the test, and returns its URL as
// the cluster's superuser.
func New(t testing.TB) string {
	t.Helper()
	return Clone(t, templateName)
}

// Empty makes a database in which nothing was ever made.
func Empty(t testing.TB) string {
	t.Helper()
	return Clone(t, "template0")
}

// Clone makes a copy of a database to which nobody is connected.
func Clone(t testing.TB, source string) string {
	t.Helper()
	c := Cluster(t)
	name := fmt.Sprintf("test_%d", count.Add(1))
	template.Lock()
	defer template.Unlock()
	if err := exec(t.Context(), c.URL("postgres"), "create database "+name+" template "+source); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := exec(ctx, c.URL("postgres"), "drop database if exists "+name+" with (force)"); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return c.URL(name)
}

// As returns a URL for another role.
func As(t testing.TB, url, role string) string {
	t.Helper()
	cc, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("postgres://%s@/%s?host=%s", role, cc.Database, cc.Host)
}

// Connect opens a connection that ends with the test.
func Connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// Exec runs statements in a session of its own.
func Exec(t testing.TB, url string, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if err := exec(t.Context(), url, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func exec(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, sql)
	return err
}
