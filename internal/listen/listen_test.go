package listen_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
	"go.uber.org/goleak"

	"github.com/tiergate/tiergate/internal/listen"
)

// fasthttp keeps its date by one goroutine for ever.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// open listens until the test ends.
func open(t *testing.T, addr string, opts listen.Options) net.Listener {
	t.Helper()
	ln, err := listen.Listen(addr, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// refused demands that listening fails with one sentence that holds all of parts.
func refused(t *testing.T, addr string, opts listen.Options, parts ...string) {
	t.Helper()
	ln, err := listen.Listen(addr, opts)
	if err == nil {
		_ = ln.Close()
		t.Fatalf("Listen(%q) works, want an error", addr)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("Listen(%q): %q does not say %q", addr, err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("Listen(%q): %q is more than one line", addr, err)
	}
}

// greet connects, and accepts on the other side.
func greet(t *testing.T, ln net.Listener) {
	t.Helper()
	c, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), s.Close()); err != nil {
		t.Error(err)
	}
}

// Loopback needs nothing; what others can reach needs TLS or consent.
func TestListen_keeps_plain_text_on_loopback(t *testing.T) {
	flag := listen.Options{Flag: "--http-addr"}
	for _, addr := range []string{"127.0.0.1:0", "localhost:0", "127.1.2.3:0"} {
		greet(t, open(t, addr, flag))
	}
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:8016"} {
		refused(t, addr, flag, addr, "--http-addr", "--insecure", "--tls-cert")
	}
	greet(t, open(t, "127.0.0.1:0", listen.Options{Insecure: true}))
	greet(t, open(t, "0.0.0.0:0", listen.Options{Insecure: true}))
}

// A port that is taken, or that is no port, is one clear sentence.
func TestListen_says_what_is_wrong_with_an_address(t *testing.T) {
	taken := open(t, "127.0.0.1:0", listen.Options{})
	refused(t, taken.Addr().String(), listen.Options{Flag: "--ops-addr"}, taken.Addr().String(), "in use", "--ops-addr")
	for _, addr := range []string{"", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "unix:"} {
		refused(t, addr, listen.Options{Flag: "--ops-addr"}, "--ops-addr")
	}
}

// A Unix socket has its mode from the first moment, and goes when its listener closes.
func TestListen_unix(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "s")
	for want, mode := range map[fs.FileMode]fs.FileMode{0o600: 0, 0o660: 0o660} {
		ln := open(t, "unix:"+path, listen.Options{UnixMode: mode})
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("mode %v, %v; want %v", info.Mode(), err, want)
		}
		if got := ln.Addr().String(); got != path {
			t.Errorf("address %s, want %s", got, path)
		}
		greet(t, ln)
		refused(t, "unix:"+path, listen.Options{Flag: "--http-addr"}, path, "in use", "--http-addr")
		_ = ln.Close()
		if left, _ := os.ReadDir(folder); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// A socket on which nobody listens any more is replaced; a live one's successor keeps its
// own when the old listener closes late; anything else is left alone.
func TestListen_unix_replaces_only_a_dead_socket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	old := open(t, "unix:"+path, listen.Options{})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	greet(t, open(t, "unix:"+path, listen.Options{}))
	_ = old.Close()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the late close took the new socket away: %v", err)
	}
	file := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "unix:"+file, listen.Options{}, file, "something else")
	if data, err := os.ReadFile(file); err != nil || string(data) != "x" {
		t.Errorf("the file is %q, %v", data, err)
	}
	refused(t, "unix:/"+strings.Repeat("x", 200), listen.Options{}, "bytes")
	refused(t, "unix:"+filepath.Join(t.TempDir(), "no", "s"), listen.Options{}, "no such file")
}

// Only hosts that are ours are answered: a stranger's name that points here is not.
func TestHosts(t *testing.T) {
	loopback := listen.HostsOf([]string{"127.0.0.1:8016", "unix:/run/s"}, []string{"Flags.Internal:8016"})
	everywhere := listen.HostsOf([]string{":8016"}, nil)
	one := listen.HostsOf([]string{"192.0.2.7:8016"}, nil)
	for _, tc := range []struct {
		name  string
		hosts listen.Hosts
		host  string
		want  bool
	}{
		{"zero", listen.Hosts{}, "localhost", true},
		{"zero", listen.Hosts{}, "127.0.0.1:8016", true},
		{"zero", listen.Hosts{}, "[::1]:8016", true},
		{"zero", listen.Hosts{}, "::1", true},
		{"zero", listen.Hosts{}, "LOCALHOST:1", true},
		{"zero", listen.Hosts{}, "", false},
		{"zero", listen.Hosts{}, ":8016", false},
		{"zero", listen.Hosts{}, "evil.example", false},
		{"zero", listen.Hosts{}, "localhost.evil.example:8016", false},
		{"zero", listen.Hosts{}, "127.0.0.1.evil.example", false},
		{"zero", listen.Hosts{}, "127.0.0.1@evil.example", false},
		{"zero", listen.Hosts{}, "192.0.2.7", false},
		{"zero", listen.Hosts{}, "[", false},
		{"loopback", loopback, "flags.internal", true},
		{"loopback", loopback, "FLAGS.internal:9", true},
		{"loopback", loopback, "other.internal", false},
		{"everywhere", everywhere, "10.1.2.3:8016", true},
		{"everywhere", everywhere, "[fd00::1]:8016", true},
		{"everywhere", everywhere, "evil.example", false},
		{"one", one, "192.0.2.7:8016", true},
		{"one", one, "192.0.2.8:8016", false},
		{"one", one, "localhost", true},
	} {
		t.Run(fmt.Sprintf("%s %s", tc.name, tc.host), func(t *testing.T) {
			if got := tc.hosts.Allows(tc.host); got != tc.want {
				t.Errorf("Allows(%q) = %v", tc.host, got)
			}
		})
	}
	if !(listen.Hosts{}).Serves(&net.UnixAddr{}, "evil.example") || (listen.Hosts{}).Serves(&net.TCPAddr{}, "evil.example") {
		t.Error("a Unix socket answers any host, TCP does not")
	}
	if n := testing.AllocsPerRun(100, func() { loopback.Allows("flags.internal:8016") }); n != 0 {
		t.Errorf("Allows allocates %v times", n)
	}
}

// A Fiber app with the middleware answers our hosts and refuses others with 421.
func TestHosts_middleware(t *testing.T) {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Use(listen.Hosts{}.Middleware())
	app.Get("/", func(c *fiber.Ctx) error { return c.SendString("ours") })
	for host, want := range map[string]int{"localhost:8080": 200, "evil.example": 421} {
		req := httptest.NewRequest("GET", "/", nil)
		req.Host = host
		res, err := app.Test(req, -1)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: status %d, want %d", host, res.StatusCode, want)
		}
	}
}
