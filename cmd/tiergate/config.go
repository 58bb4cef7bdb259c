package main

import (
	"log/slog"
	"time"

	"github.com/alecthomas/kong"
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
	Limits  limitsCmd  `cmd:"" help:"Show who holds what of the limits, and settle what is lost."`
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
	DataDir string `help:"Folder for the last-known-good state and, in dev, the database." default:"data"`
}

// doorOptions are the doors of a sidecar.
type doorOptions struct {
	HTTPAddr   string   `help:"Where OFREP listens, host:port or unix:/path." default:"127.0.0.1:8016"`
	GRPCAddr   string   `help:"Where gRPC and Connect listen, host:port or unix:/path; none is nowhere." default:"127.0.0.1:8013"`
	SyncAddr   string   `help:"Where flagd's in-process providers get flag definitions, host:port or unix:/path; none is nowhere." default:"127.0.0.1:8015"`
	CORSOrigin []string `name:"cors-origin" help:"Browser origins that may ask; none by default." placeholder:"ORIGIN"`
}

// opsOptions are the door for whoever runs the program.
type opsOptions struct {
	OpsAddr     string        `help:"Where /healthz, /readyz, /metrics and /status listen, host:port or unix:/path." default:"127.0.0.1:8014"`
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

// authOptions say who may ask a sidecar.
type authOptions struct {
	Auth string `help:"Who may ask: none (for loopback), or keys (each request needs a team's API key)." enum:"none,keys" default:"none"`
}

// demoOptions are dev's own.
type demoOptions struct {
	NoDemo bool `help:"Begin with an empty database."`
}

// roleOptions say whom a migration grants what.
type roleOptions struct {
	SingleRole  bool   `help:"Make no roles and grant nothing: everything connects as the owner. For managed databases that give out one user."`
	OwnerRole   string `help:"The role that owns the tables." default:"tiergate_owner"`
	AdminRole   string `help:"The role that admins connect as." default:"tiergate_admin"`
	SidecarRole string `help:"The role that sidecars connect as." default:"tiergate_sidecar"`
}

// adminOptions are the admin API's own.
type adminOptions struct {
	AdminAddr   string `help:"Where the admin API listens, host:port or unix:/path." default:"127.0.0.1:8080"`
	AdminToken  string `help:"Bearer token of the admin role; better given as TIERGATE_ADMIN_TOKEN." placeholder:"TOKEN" secret:""`
	EditorToken string `help:"Bearer token of the editor role." placeholder:"TOKEN" secret:""`
	ViewerToken string `help:"Bearer token of the viewer role." placeholder:"TOKEN" secret:""`
}
