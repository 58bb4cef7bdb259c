package localpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Config says which cluster to start. Dir is required.
type Config struct {
	// Dir is the folder that the cluster belongs to. The data is kept in it, or, when we
	// are root and Postgres' uid cannot enter it, in a folder that Dir points to.
	Dir string
	// Log gets what starts and stops; nil is nowhere. The server's own log is a file.
	Log *slog.Logger
	// Settings are server settings, such as {"fsync": "off"}.
	Settings map[string]string
}

// A Cluster is a running private PostgreSQL. Safe for concurrent use.
type Cluster struct {
	place place
	log   *slog.Logger
	lock  *os.File
	bin   binaries

	process *process
	close   func() error
}

// How long a server may take to start (crash recovery included) and to stop.
const (
	startTimeout = 2 * time.Minute
	stopTimeout  = 20 * time.Second
)

// Start starts the cluster that belongs to cfg.Dir, and makes it first when there is
// none. As root it runs as the user postgres, or nobody. A cluster that a killed owner
// left behind is stopped first; one whose owner lives is an error. Every error is one
// sentence that says what to do.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	who, err := chooseAccount()
	if err != nil {
		return nil, err
	}
	p, err := newPlace(cfg.Dir, who)
	if err != nil {
		return nil, err
	}
	lock, err := takeLock(p.lock, cfg.Dir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{place: p, log: cfg.Log, lock: lock}
	if err := c.start(ctx, cfg.Settings, who); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	c.close = sync.OnceValue(c.stop)
	return c, nil
}

// URL returns the URL of a database of the cluster, as its superuser.
func (c *Cluster) URL(database string) string {
	q := url.Values{"host": {c.place.socket}}
	return (&url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/" + database, RawQuery: q.Encode()}).String()
}

// Bin returns the folder of the programs that the cluster was started with.
func (c *Cluster) Bin() string { return c.bin.dir }

// Pid returns the process id of the server.
func (c *Cluster) Pid() int { return c.process.pid }

// Done is closed when the server has ended, for whatever reason.
func (c *Cluster) Done() <-chan struct{} { return c.process.done }

// Close stops the server (fast: open transactions are rolled back) and waits for its
// end. Closing twice is closing once.
func (c *Cluster) Close() error { return c.close() }

func chooseAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	for _, name := range []string{"postgres", "_postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil && uid > 0 {
			return account{uid: uid, gid: gid, drop: true}, nil
		}
	}
	return account{}, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as; start tiergate as another user")
}

func (c *Cluster) start(ctx context.Context, settings map[string]string, who account) error {
	made, err := c.dataVersion()
	if err != nil {
		return err
	}
	bin, err := find(ctx, candidates(), made)
	if err != nil {
		return fmt.Errorf("start a private Postgres in %s: %w", c.place.base, err)
	}
	c.bin = bin
	if made == 0 {
		if err := c.initialize(ctx, bin, who, settings["fsync"] == "off"); err != nil {
			return err
		}
	}
	if err := c.clearLeftover(ctx); err != nil {
		return err
	}
	return c.launch(ctx, bin, settings, who)
}

// dataVersion returns the major version that made the data, 0 when there is none.
func (c *Cluster) dataVersion() (int, error) {
	text, err := os.ReadFile(filepath.Join(c.place.data, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the version of the data in %s: %w", c.place.data, err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || major < 1 {
		return 0, fmt.Errorf("%s/PG_VERSION is damaged: it says %.20q; move the folder away to start anew", c.place.data, text)
	}
	return major, nil
}

// initialize makes the data beside its place and renames it, so that a half-made
// cluster is never taken for one. A hasty one need not survive a power cut.
func (c *Cluster) initialize(ctx context.Context, bin binaries, who account, hasty bool) error {
	half := c.place.data + ".new"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	args := []string{"-D", half, "-U", "postgres", "--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", "--locale=C", "--no-instructions"}
	if hasty {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, bin.path("initdb"), args...)
	cmd.Dir = c.place.base
	cmd.SysProcAttr = runAs(who)
	cmd.Env = environment()
	runtime.LockOSThread() // the kernel ends the child with the thread that forked it
	defer runtime.UnlockOSThread()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make a Postgres cluster in %s: %w: %s", c.place.base, err, lastLines(out))
	}
	return os.Rename(half, c.place.data)
}

func (c *Cluster) launch(ctx context.Context, bin binaries, settings map[string]string, who account) error {
	args := []string{
		"-D", c.place.data, "-c", "listen_addresses=", "-c", "port=5432",
		"-c", "unix_socket_directories=" + c.place.socket, "-c", "unix_socket_permissions=0700",
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	logFile, err := os.OpenFile(c.place.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of Postgres: %w", err)
	}
	defer logFile.Close()
	cmd := exec.Command(bin.path("postgres"), args...)
	cmd.Dir, cmd.Env = c.place.base, environment()
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = runAs(who)
	if c.process, err = startProcess(cmd); err != nil {
		return fmt.Errorf("start Postgres: %w", err)
	}
	if err := c.waitReady(ctx); err != nil {
		return errors.Join(err, c.process.stop())
	}
	c.log.Info("postgres started", "version", bin.major, "data", c.place.data, "pid", c.process.pid)
	return nil
}

// waitReady waits until the server's own pid file says that it takes connections.
func (c *Cluster) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if f := readPidFile(c.place.data); f.pid == c.process.pid && f.ready {
			return nil
		}
		select {
		case <-c.process.done:
			text, _ := os.ReadFile(c.place.log)
			return fmt.Errorf("Postgres in %s ended while starting: %s", c.place.base, lastLines(text))
		case <-ctx.Done():
			return fmt.Errorf("wait for Postgres in %s to start: %w", c.place.base, ctx.Err())
		case <-tick.C:
		}
	}
}

func (c *Cluster) stop() error {
	err := c.process.stop()
	if filepath.Dir(c.place.socket) != c.place.base {
		_ = os.Remove(c.place.socket) // a folder of its own elsewhere; it stays when something is in it
	}
	c.log.Info("postgres stopped", "data", c.place.data)
	return errors.Join(err, c.lock.Close())
}

// takeLock makes sure that one living process owns a cluster; the lock goes with it.
func takeLock(path, dir string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid, _ := io.ReadAll(io.LimitReader(f, 20))
		return nil, errors.Join(fmt.Errorf("the data directory %s is in use by process %s; stop it or use another --data-dir", dir, bytes.TrimSpace(pid)), f.Close())
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := fmt.Fprintf(f, "%d\n", os.Getpid()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// environment is ours without PG…, which would change what the programs do.
func environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "PG") })
	return append(env, "LC_ALL=C", "TZ=UTC")
}

func lastLines(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}
