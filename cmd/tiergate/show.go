package main

import (
	"fmt"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
)

// configCmd prints what is in force for a server that is started in this environment: all
// settings of all servers.
type configCmd struct {
	dataOptions
	doorOptions
	streamOptions
	opsOptions
	listenOptions
	replicaOptions
	authOptions
	adminOptions
	demoOptions
	roleOptions
	usageOptions
	retentionOptions
	Database string `help:"The database, postgres://…" placeholder:"URL"`
}

// Run prints each setting in YAML, with its origin.
func (c *configCmd) Run(kctx *kong.Context, out console) error {
	for _, flag := range append(kctx.Model.Flags, kctx.Selected().Flags...) {
		if flag.Name == "help" {
			continue
		}
		if _, err := fmt.Fprintf(out.out, "%s: %s # %s\n", flag.Name, shown(flag), originOf(kctx, flag)); err != nil {
			return err
		}
	}
	return nil
}

// shown is a setting's value as YAML. A secret is never shown, only whether it is set.
func shown(flag *kong.Flag) string {
	var value any
	switch v := flag.Target.Interface().(type) {
	case time.Duration:
		value = v.String()
	case []string:
		list := make([]string, len(v))
		for i := range v {
			if list[i] = inYAML(v[i]); strings.ContainsAny(v[i], ",[]{}") {
				list[i] = strconv.Quote(v[i]) // these mean something inside a list
			}
		}
		return "[" + strings.Join(list, ", ") + "]"
	default:
		value = v
		if flag.Target.Kind() == reflect.String {
			value = redacted(flag.Target.String())
		}
	}
	if flag.Tag.Has("secret") && !flag.Target.IsZero() {
		value = hidden
	}
	return inYAML(value)
}

const hidden = "(set)"

// redacted is a text without the password that it has, should it be the address of a database.
func redacted(s string) string {
	if !strings.Contains(s, "://") {
		if strings.Contains(s, "password") { // libpq's "host=… password=…"
			return hidden
		}
		return s
	}
	u, err := url.Parse(s)
	if err != nil {
		return hidden // whatever it is, it may hold one
	}
	query := u.Query()
	for name := range query {
		if strings.Contains(strings.ToLower(name), "password") {
			query.Set(name, "xxxxx")
			u.RawQuery = query.Encode()
		}
	}
	return u.Redacted()
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

func inYAML(value any) string {
	out, err := yaml.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return strings.TrimSpace(string(out))
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(out console) error {
	_, err := fmt.Fprintln(out.out, "tiergate", version)
	return err
}
