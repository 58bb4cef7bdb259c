package server

import "slices"

// The members that the doors add to a flag's metadata, and those that they add to a metered
// flag's besides. A flag's own ones of these names give way, so that no answer has a member twice.
var (
	ReservedMetadata        = []string{"revision", "stale", "tier", "denied", "denyReason", "upgrade"}
	ReservedMeteredMetadata = []string{"limit", "limitKey", "period", "remaining", "resetsAt"}
)

// Reserved reports whether a member of metadata is one that the doors add.
func Reserved(name string, metered bool) bool {
	return slices.Contains(ReservedMetadata, name) || metered && slices.Contains(ReservedMeteredMetadata, name)
}
