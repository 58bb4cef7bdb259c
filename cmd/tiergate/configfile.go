package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
)

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

// Resolve returns the file's value of a flag unless the environment has one. A value that
// is null or an empty list is as good as none.
func (f fileConfig) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if _, ok := os.LookupEnv(env); ok {
			return nil, nil
		}
	}
	value := f[flag.Name]
	switch value := value.(type) {
	case nil:
		return nil, nil
	case []any:
		if !flag.IsSlice() {
			return nil, fmt.Errorf("the configuration file has a list for %q, which is one value", flag.Name)
		}
		if len(value) == 0 {
			return nil, nil
		}
		texts := make([]any, len(value))
		for i, v := range value {
			text, err := scalar(flag.Name, v)
			if err != nil {
				return nil, err
			}
			texts[i] = text
		}
		return texts, nil
	}
	return scalar(flag.Name, value)
}

// scalar is the text of one value, which kong reads as it reads an argument.
func scalar(key string, value any) (any, error) {
	switch value.(type) {
	case string, bool, int64, uint64, float64, int:
		return fmt.Sprint(value), nil
	}
	return nil, fmt.Errorf("the configuration file has a value for %q that is no text, number or boolean", key)
}
