package main

import (
	"testing"

	"github.com/alecthomas/kong"
)

// "config" prints each setting of each server: none is left out when one is added.
func TestConfig_prints_all_settings(t *testing.T) {
	var c cli
	parser, err := kong.New(&c, kong.DefaultEnvars("TIERGATE"))
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]map[string]*kong.Flag{}
	for _, command := range parser.Model.Children {
		settings[command.Name] = map[string]*kong.Flag{}
		for _, flag := range command.Flags {
			settings[command.Name][flag.Name] = flag
		}
	}
	for _, server := range []string{"dev", "sidecar", "admin", "migrate"} {
		if len(settings[server]) == 0 {
			t.Fatalf("there is no command %s", server)
		}
		for name, flag := range settings[server] {
			switch shown := settings["config"][name]; {
			case name == "help":
			case shown == nil:
				t.Errorf("config does not print %s of %s", name, server)
			case shown.Default != flag.Default:
				t.Errorf("config prints another default for %s than %s has", name, server)
			}
		}
	}
}
