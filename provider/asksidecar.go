package provider

import "github.com/tiergate/tiergate/provider/sidecar"

// Sidecar makes a provider that asks a sidecar over OFREP: sidecar.New, for programs that choose
// between the two by a setting.
func Sidecar(target string, o sidecar.Options) (*sidecar.Provider, error) {
	return sidecar.New(target, o)
}
