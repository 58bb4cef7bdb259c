package main

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tiergate/tiergate/postgres/pgtest"
)

// anOldServer makes what a database's clients call see a server of another version.
const anOldServer = `create function public.current_setting(name text) returns text language sql as $$
	select case name when 'server_version_num' then '140012' when 'server_version' then '14.12' else pg_catalog.current_setting(name) end $$`

// What is wrong with a database is one sentence on stderr and exit code 1, whichever
// command is told to use it.
func TestRefusals_of_databases(t *testing.T) {
	fresh, old, newer := pgtest.Empty(t), pgtest.Empty(t), pgtest.New(t)
	missing, stranger := strings.Replace(fresh, "/test_", "/missing_", 1), strings.Replace(fresh, "postgres@", "stranger@", 1)
	pgtest.Exec(t, newer, "insert into schema_migrations (version_id, is_applied) values (9999, true)")
	pgtest.Exec(t, old, anOldServer, `do $$ begin execute 'alter database ' || current_database() || ' set search_path = public, pg_catalog'; end $$`)
	file := save(t, t.TempDir(), "flags.json", []byte(`{"flags": {}}`))
	commands := map[string][]string{
		"sidecar": {"sidecar", "--data-dir", dataDir(t), "--http-addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0", "--source"},
		"admin":   {"admin", "--data-dir", dataDir(t), "--admin-addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0", "--admin-token", "x", "--database"},
		"eval":    {"eval", "flag", "--source"},
		"import":  {"import", "flagd", file, "--database"},
		"migrate": {"migrate", "--database"},
	}
	for _, c := range []struct{ what, url, says, not string }{
		{"nobody listens", "postgres://127.0.0.1:1/x?connect_timeout=2", `the database "x" at 127\.0\.0\.1:1 cannot be reached`, ""},
		{"no socket", "postgres:///x?host=/nowhere", `the database "x" at /nowhere cannot be reached`, ""},
		{"no database", missing, `database "missing_\d+" does not exist`, ""},
		{"no user", stranger, `role "stranger" does not exist`, ""},
		{"an old server", old, `PostgreSQL 14\.12 is too old: tiergate needs 15 or later`, ""},
		{"not migrated", fresh, `is not migrated; run tiergate migrate`, "migrate"},
		{"newer", newer, `has schema 9999 and this tiergate knows \d+; use a newer tiergate`, ""},
		{"no URL", "postgres://%zz", `database URL`, ""},
	} {
		for name, args := range commands {
			if name != c.not {
				t.Run(c.what+"/"+name, func(t *testing.T) { refused(t, 1, c.says, append(slices.Clip(args), c.url)...) })
			}
		}
	}
}

// The admin API says so of its address, and that nobody could use it.
func TestRefusals_of_the_admin_API(t *testing.T) {
	d := seeded(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	admin := []string{"admin", "--ops-addr", "127.0.0.1:0", "--database", d.url()}
	refused(t, 1, regexp.QuoteMeta(taken.Addr().String())+" is in use .* --admin-addr",
		append(slices.Clip(admin), "--admin-token", "x", "--admin-addr", taken.Addr().String())...)
	refused(t, 1, "set TIERGATE_ADMIN_TOKEN", append(slices.Clip(admin), "--admin-addr", "127.0.0.1:0")...)
	refused(t, 2, "the tokens of two roles are the same", append(slices.Clip(admin), "--admin-token", "x", "--editor-token", "y", "--viewer-token", "x")...)
	for _, token := range []string{"x\n", " x", "x\ty", strings.Repeat("x", 513)} {
		refused(t, 2, "--viewer-token could never be presented", append(slices.Clip(admin), "--admin-token", "y", "--viewer-token", token)...)
	}
}

// refused runs a command that must end with a code and say why in one sentence, once.
func refused(t *testing.T, want int, says string, args ...string) {
	t.Helper()
	out, code := commandWithErr(t, append([]string{"--log-level", "error"}, args...)...)
	line, rest, _ := strings.Cut(out, "\n")
	if code != want || rest != "" || !strings.HasPrefix(line, "tiergate: ") || !regexp.MustCompile(says).MatchString(line) {
		t.Errorf("exit code %d, want %d and one line about %q:\n%s", code, want, says, out)
	}
}

// So is what is wrong with an address, a certificate or a key file; what is wrong with the
// command line or the configuration file has exit code 2.
func TestRefusals_of_settings(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	one, other := identityOf(t, "one"), identityOf(t, "other")
	cert, key := save(t, dir, "cert.pem", one.cert), save(t, dir, "key.pem", one.key)
	otherKey := save(t, dir, "other.pem", other.key)
	junk := save(t, dir, "junk.pem", []byte("junk"))
	short := save(t, dir, "short.key", []byte("too short"))
	open := save(t, dir, "open.key", []byte(strings.Repeat("k", 40)))
	if err := os.Chmod(open, 0o666); err != nil {
		t.Fatal(err)
	}
	flags := t.TempDir()
	save(t, flags, "flags.json", []byte(`{"flags": {}}`))
	socket := filepath.Join(t.TempDir(), "s")
	busy, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()

	for what, c := range map[string]struct {
		code int
		says string
		args []string
	}{
		"http port taken":          {1, regexp.QuoteMeta(taken.Addr().String()) + " is in use .* --http-addr", []string{"--http-addr", taken.Addr().String()}},
		"ops port taken":           {1, regexp.QuoteMeta(taken.Addr().String()) + " is in use .* --ops-addr", []string{"--ops-addr", taken.Addr().String()}},
		"socket taken":             {1, "socket " + socket + " is in use .* --http-addr", []string{"--http-addr", "unix:" + socket}},
		"a file for a socket":      {1, "is something else than a socket", []string{"--http-addr", "unix:" + junk}},
		"no folder for a socket":   {1, "no such file or directory", []string{"--http-addr", "unix:" + dir + "/none/s"}},
		"a long socket path":       {1, "a path has 1 to 103", []string{"--http-addr", "unix:/" + strings.Repeat("x", 200)}},
		"no address":               {1, `address "nonsense" of --http-addr is not host:port`, []string{"--http-addr", "nonsense"}},
		"beyond loopback":          {1, "0.0.0.0:0 of --ops-addr can be reached from other machines", []string{"--ops-addr", "0.0.0.0:0"}},
		"certificate without key":  {1, "TLS needs both --tls-cert and --tls-key", []string{"--tls-cert", cert}},
		"client CA alone":          {1, "TLS needs both --tls-cert and --tls-key", []string{"--tls-client-ca", cert}},
		"no certificate":           {1, "none.pem: no such file", []string{"--tls-cert", dir + "/none.pem", "--tls-key", key}},
		"junk for a certificate":   {1, "read TLS certificate .*junk.pem", []string{"--tls-cert", junk, "--tls-key", key}},
		"the key of another":       {1, "private key does not match", []string{"--tls-cert", cert, "--tls-key", otherKey}},
		"junk for a client CA":     {1, "junk.pem holds no PEM certificate", []string{"--tls-cert", cert, "--tls-key", key, "--tls-client-ca", junk}},
		"no key file":              {1, "none.key: no such file", []string{"--lkg-key", dir + "/none.key"}},
		"a short key":              {1, "short.key must hold 32 to 4096 bytes, and holds 9", []string{"--lkg-key", short}},
		"a key that all may write": {1, "open.key must be a regular file that only its owner can write", []string{"--lkg-key", open}},
		"a folder for a key":       {1, "must be a regular file", []string{"--lkg-key", dir}},
		"an unknown setting":       {2, `the configuration file has an unknown key "htttp-addr"`, []string{"--config", save(t, dir, "unknown.yaml", []byte("htttp-addr: x"))}},
		"a setting twice":          {2, `http-addr`, []string{"--config", save(t, dir, "twice.yaml", []byte("http-addr: 127.0.0.1:0\nhttp-addr: 127.0.0.1:1"))}},
		"a setting of no use":      {2, "ready-max-age", []string{"--config", save(t, dir, "age.yaml", []byte("ready-max-age: soon"))}},
		"a file that is not YAML":  {2, "read the configuration file", []string{"--config", save(t, dir, "broken.yaml", []byte("http-addr: ["))}},
		"no configuration file":    {2, "none.yaml: no such file", []string{"--config", dir + "/none.yaml"}},
		"another authentication":   {2, `--auth must be one of "none","keys"`, []string{"--auth", "some"}},
		"an unknown flag":          {2, "unknown flag --nonsense", []string{"--nonsense"}},
	} {
		t.Run(what, func(t *testing.T) {
			args := []string{"sidecar", "--source", "file:" + flags, "--data-dir", filepath.Join(t.TempDir(), "d")}
			for _, name := range []string{"--http-addr", "--ops-addr"} {
				if !slices.Contains(c.args, name) {
					args = append(args, name, "127.0.0.1:0")
				}
			}
			refused(t, c.code, c.says, append(args, c.args...)...)
		})
	}
}
