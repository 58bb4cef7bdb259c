package tiergate

// A FlagDocument is all flags of a set as one flag definition document of flagd, for programs
// that decide in their own process and know the caller's tier themselves. It is immutable.
type FlagDocument struct {
	Set string
	// JSON is the document. It is the same bytes for the same flags, wherever it was made.
	JSON string
	// Withheld are the flags that the document does not define as they are, in the order of
	// their names. Each also says so in its own metadata, as "withheld".
	Withheld []WithheldFlag
	// Incomplete means that some are withheld only because the policy had no time to say what
	// it makes of them: another document is to be had a second later.
	Incomplete bool
}

// A WithheldFlag is one that only a sidecar can decide about.
type WithheldFlag struct {
	Name string
	Why  Withholding
}

// Withholding is why a flag is withheld.
type Withholding string

// The reasons for withholding a flag.
const (
	// WithheldByPolicy is a flag that the published policy may deny to somebody, or serve
	// another variant of. Everybody gets its off variant.
	WithheldByPolicy Withholding = "policy"
	// WithheldByQuarantine is a flag whose definition cannot be used. The caller's code
	// default applies.
	WithheldByQuarantine Withholding = "quarantine"
	// WithheldBySize is a flag whose rule is too large with its shared rules in place.
	// Everybody gets its off variant.
	WithheldBySize Withholding = "size"
)

// MaxDocumentBytes bounds a FlagDocument.
const MaxDocumentBytes = 64 << 20

// An Exporter is a Watcher that also writes flag definitions. Safe for concurrent use.
type Exporter interface {
	Watcher
	// Export returns the flags of a set in force; "" is DefaultSet, and a set that does not
	// exist has none. As long as nothing about the set changes it is the same document, and
	// costs a look. What a document serves is never more than what the generation in force
	// decides for a caller on the tier that the caller's context names. It is Unavailable
	// before the first generation, and Exhausted beyond MaxDocumentBytes.
	Export(set string) (*FlagDocument, error)
}
