package main

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
)

// cli is the command line: flag > TIERGATE_… > configuration file > default.
type cli struct {
	Config   kong.ConfigFlag `help:"YAML file with settings, named as the flags are without the dashes in front." placeholder:"FILE"`
	LogLevel string          `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`

	Dev     devCmd     `cmd:"" help:"Run everything in one process on loopback, with a private Postgres and demo data."`
	Sidecar sidecarCmd `cmd:"" help:"Answer decisions next to an application."`
	Admin   adminCmd   `cmd:"" help:"Serve the admin API over a database."`
	Migrate migrateCmd `cmd:"" help:"Bring a database's schema up to date."`
	Eval    evalCmd    `cmd:"" help:"Evaluate flags once and print the answers."`
	Import  importCmd  `cmd:"" help:"Bring flags from elsewhere into a database."`
	Policy  policyCmd  `cmd:"" help:"Check, test or format a folder of Rego."`
	Show    configCmd  `cmd:"" name:"config" help:"Print the settings in force and where each comes from."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

func (c *cli) logLevel() slog.Level {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // the enum has checked it
	return level
}

// dataOptions is where a server keeps what must survive a restart.
type dataOptions struct {
	DataDir string `help:"Folder for the last-known-good state and, in dev, the database." default:"data" placeholder:"DIR"`
}

// doorOptions are the door of a sidecar.
type doorOptions struct {
	HTTPAddr   string   `help:"Where OFREP listens, host:port or unix:/path." default:"127.0.0.1:8016" placeholder:"ADDR"`
	CORSOrigin []string `name:"cors-origin" help:"Browser origins that may ask; none by default." placeholder:"ORIGIN"`
}

// opsOptions are the door for whoever runs the program.
type opsOptions struct {
	OpsAddr     string        `help:"Where /healthz, /readyz, /metrics and /status listen, host:port or unix:/path." default:"127.0.0.1:8014" placeholder:"ADDR"`
	ReadyMaxAge time.Duration `help:"Age of the data from which /readyz answers 503; 0 is never." default:"15s"`
}

// listenOptions hold for every listener.
type listenOptions struct {
	TLSCert     string   `name:"tls-cert" help:"PEM certificate; reloaded when it changes." placeholder:"FILE"`
	TLSKey      string   `name:"tls-key" help:"PEM key of the certificate." placeholder:"FILE"`
	TLSClientCA string   `name:"tls-client-ca" help:"PEM authorities that client certificates must come from." placeholder:"FILE"`
	Insecure    bool     `help:"Allow an address that is not loopback without TLS."`
	Host        []string `help:"Host names, besides loopback and the listening address, that requests may be for." placeholder:"NAME"`
}

// replicaOptions say what a replica is fed from.
type replicaOptions struct {
	Source           string `help:"Where flags, tiers and policies come from: postgres://… or file:DIR." placeholder:"URL"`
	LKGKey           string `name:"lkg-key" help:"File with the key that authenticates the last-known-good state; by default a random one in the data directory." placeholder:"FILE"`
	TrustContextTier bool   `help:"With a file source: believe the tier that the evaluation context states."`
}

// adminOptions are the admin API's own.
type adminOptions struct {
	AdminAddr   string `help:"Where the admin API listens, host:port or unix:/path." default:"127.0.0.1:8080" placeholder:"ADDR"`
	AdminToken  string `help:"Bearer token of the admin role; better given as TIERGATE_ADMIN_TOKEN." placeholder:"TOKEN" secret:""`
	EditorToken string `help:"Bearer token of the editor role." placeholder:"TOKEN" secret:""`
	ViewerToken string `help:"Bearer token of the viewer role." placeholder:"TOKEN" secret:""`
}

// A fileConfig resolves flags from a configuration file.
type fileConfig map[string]any

// loadConfig reads a YAML configuration file: one mapping from flag names to values.
func loadConfig(r io.Reader) (kong.Resolver, error) {
	text, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read the configuration file: %w", err)
	}
	values := fileConfig{}
	if err := yaml.UnmarshalWithOptions(text, &values, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("read the configuration file: %s", yaml.FormatError(err, false, false))
	}
	return values, nil
}

// Validate refuses keys that are no flag of any command.
func (f fileConfig) Validate(app *kong.Application) error {
	known := map[string]bool{}
	_ = kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok && flag.Name != "help" && flag.Name != "config" {
			known[flag.Name] = true
		}
		return next(nil)
	})
	for _, key := range slices.Sorted(maps.Keys(f)) {
		if !known[key] {
			return fmt.Errorf("the configuration file has an unknown key %q", key)
		}
	}
	return nil
}

// Resolve returns the file's value of a flag unless the environment has one.
func (f fileConfig) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if _, ok := os.LookupEnv(env); ok {
			return nil, nil
		}
	}
	value, ok := f[flag.Name]
	if !ok {
		return nil, nil
	}
	if list, ok := value.([]any); ok {
		parts := make([]string, len(list))
		for i, v := range list {
			parts[i] = fmt.Sprint(v)
		}
		return strings.Join(parts, ","), nil
	}
	return fmt.Sprint(value), nil
}

// configCmd prints what is in force for a server that is started in this environment.
type configCmd struct {
	dataOptions
	doorOptions
	opsOptions
	listenOptions
	replicaOptions
	adminOptions
	Database string `help:"The database, postgres://…" placeholder:"URL" secret:""`
}

// Run prints each setting with its origin.
func (c *configCmd) Run(kctx *kong.Context, out console) error {
	for _, flag := range kctx.Selected().Flags {
		if flag.Name == "help" {
			continue
		}
		value := fmt.Sprint(kctx.FlagValue(flag))
		if flag.Tag.Has("secret") && value != "" {
			value = "(set)"
		}
		fmt.Fprintf(out.out, "%s: %s # %s\n", flag.Name, quoteYAML(value), originOf(kctx, flag))
	}
	return nil
}

func originOf(kctx *kong.Context, flag *kong.Flag) string {
	for _, p := range kctx.Path {
		if p.Flag == flag {
			if p.Resolved {
				return "file"
			}
			return "flag"
		}
	}
	for _, env := range flag.Envs {
		if _, ok := os.LookupEnv(env); ok {
			return env
		}
	}
	return "default"
}

func quoteYAML(s string) string {
	out, err := yaml.Marshal(s)
	if err != nil {
		return s
	}
	return strings.TrimSpace(string(out))
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(out console) error {
	_, err := fmt.Fprintln(out.out, "tiergate", version)
	return err
}
