package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"github.com/tiergate/tiergate/admin"
)

// Validate refuses settings that could never do what they say, before anything is opened.
func (c *devCmd) Validate() error {
	return cmp.Or(c.opsOptions.check(), c.doorOptions.check(), c.streamOptions.check(), c.listenOptions.check(), c.adminOptions.check())
}

// Validate does the same for a sidecar.
func (c *sidecarCmd) Validate() error {
	return cmp.Or(c.opsOptions.check(), c.doorOptions.check(), c.streamOptions.check(), c.listenOptions.check(), c.replicaOptions.check())
}

// Validate does the same for the admin API.
func (c *adminCmd) Validate() error {
	return cmp.Or(c.opsOptions.check(), c.listenOptions.check(), c.adminOptions.check())
}

// Validate does the same for one evaluation.
func (c *evalCmd) Validate() error { return c.check() }

func (o opsOptions) check() error {
	if o.ReadyMaxAge < 0 {
		return fmt.Errorf("--ready-max-age is %s: an age is not negative, and 0 is never", o.ReadyMaxAge)
	}
	return nil
}

// check holds that each origin is one as browsers send it: one that is not would let
// nobody in, and say nothing.
func (o doorOptions) check() error {
	for _, origin := range o.CORSOrigin {
		u, err := url.Parse(origin)
		if origin != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != origin) {
			return fmt.Errorf("--cors-origin %q is not an origin, such as https://app.example or *", origin)
		}
	}
	return nil
}

func (o listenOptions) check() error {
	for _, name := range o.Host {
		if name == "" || strings.ContainsAny(name, " \t/@*") {
			return fmt.Errorf("--host %q is not the name of a host, such as flags.example", name)
		}
	}
	return nil
}

// check holds that each token can come in a header as it is, and says which role it is for.
func (o adminOptions) check() error {
	for _, t := range []struct{ flag, secret string }{
		{"--admin-token", o.AdminToken}, {"--editor-token", o.EditorToken}, {"--viewer-token", o.ViewerToken},
	} {
		if len(t.secret) > admin.MaxSecret || strings.TrimSpace(t.secret) != t.secret || strings.ContainsFunc(t.secret, unicode.IsControl) {
			return fmt.Errorf("%s could never be presented: it is longer than %d bytes, or has spaces around it or control characters in it", t.flag, admin.MaxSecret)
		}
	}
	for _, pair := range [][2]string{{o.AdminToken, o.EditorToken}, {o.AdminToken, o.ViewerToken}, {o.EditorToken, o.ViewerToken}} {
		if pair[0] != "" && pair[0] == pair[1] {
			return errors.New("the tokens of two roles are the same: each role needs its own")
		}
	}
	return nil
}

func (o replicaOptions) check() error {
	if o.Source == "file:" {
		return errors.New("--source file: names no folder")
	}
	return nil
}
