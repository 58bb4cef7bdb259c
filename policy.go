package tiergate

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"time"
)

// A PolicyBundle is one published set of Rego modules that replaces or extends the
// built-in policy. Bundles are append-only: the one with the highest Version is in
// force, and a roll-back publishes older modules again under a new version.
type PolicyBundle struct {
	ID      string `json:"id"`
	Version int64  `json:"version"`
	// Modules are Rego texts by path, such as "access.rego".
	Modules map[string]string `json:"modules"`
	// Hash is ModulesHash of Modules, as admission saw them.
	Hash string `json:"hash"`
	// Admission names the rules under which the bundle was admitted (OPA's version and
	// the capability list); "" means never admitted, and no sidecar will load it.
	Admission string    `json:"admission"`
	Comment   string    `json:"comment,omitempty"`
	CreatedBy string    `json:"createdBy,omitempty"`
	CreatedAt time.Time `json:"createdAt,omitzero"`
}

// ModulesHash is SHA-256, in hex, over the modules in the order of their paths, each
// path and text preceded by its length as eight big-endian bytes.
func ModulesHash(modules map[string]string) string {
	h := sha256.New()
	part := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		part(path)
		part(modules[path])
	}
	return hex.EncodeToString(h.Sum(nil))
}
