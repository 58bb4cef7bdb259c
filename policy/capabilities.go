package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/version"
)

// allowed are the built-in functions that policies may call. It is a list of what is
// allowed, because a list of what is not is out of date with OPA's next release, and can be
// slipped past by replacing a function "with" another. What is missing, and why:
//
//   - it reaches out of the input: http.send, net.lookup_ip_addr, opa.runtime,
//     rego.parse_module, rego.metadata.*, providers.*, json.match_schema, json.verify_schema
//   - it is no function of the input: time.now_ns, rand.intn, uuid.rfc4122, trace, print
//   - one call can take more memory or time than there is: bits.lsh, numbers.range,
//     numbers.range_step, net.cidr_expand, net.cidr_merge, graph.reachable_paths, glob.match,
//     regex.globs_match, regex.template_match, strings.render_template, yaml.*, strings.replace_n
//   - it has no business in a decision: crypto.*, io.jwt.*, graphql.*, hex.*, urlquery.*
var allowed = strings.Fields(`
	abs and array.concat array.flatten array.reverse array.slice assign
	base64.decode base64.encode base64.is_valid base64url.decode base64url.encode
	bits.and bits.negate bits.or bits.rsh bits.xor
	ceil concat contains count div endswith eq equal floor format_int
	graph.reachable gt gte indexof indexof_n
	internal.member_2 internal.member_3 internal.template_string
	intersection is_array is_boolean is_null is_number is_object is_set is_string
	json.filter json.is_valid json.marshal json.patch json.remove json.unmarshal
	lower lt lte max min minus mul neq
	net.cidr_contains net.cidr_intersects net.cidr_is_valid
	object.filter object.get object.keys object.remove object.subset object.union object.union_n
	or plus product regex.find_n regex.is_valid regex.match regex.replace regex.split
	rem replace round
	semver.compare semver.is_valid sort split sprintf startswith
	strings.any_prefix_match strings.any_suffix_match strings.count strings.reverse
	substring sum
	time.add_date time.clock time.date time.diff time.format time.parse_duration_ns
	time.parse_ns time.parse_rfc3339_ns time.weekday
	to_number trim trim_left trim_prefix trim_right trim_space trim_suffix type_name
	union units.parse units.parse_bytes upper walk
`)

// capabilities returns what policies may use. Features and functions are named here one by
// one; no host may be connected to, which an empty AllowNet says and a nil one does not.
var capabilities = sync.OnceValue(func() *ast.Capabilities {
	all := ast.CapabilitiesForThisVersion(ast.CapabilitiesRegoVersion(ast.RegoV1))
	c := &ast.Capabilities{
		FutureKeywords: all.FutureKeywords,
		Features:       all.Features,
		AllowNet:       []string{},
	}
	for _, b := range all.Builtins {
		if slices.Contains(allowed, b.Name) {
			c.Builtins = append(c.Builtins, b)
		}
	}
	return c
})

// AdmissionID names the rules under which this program admits policies: OPA's version and
// a hash of all that policies may use. A bundle that was admitted under another, by another
// version of this program, must be admitted again before it is loaded: see IsAdmission.
func AdmissionID() string { return admissionID() }

// IsAdmission reports whether a text is the AdmissionID of this or another version.
func IsAdmission(id string) bool { return admissionForm.MatchString(id) }

var admissionForm = regexp.MustCompile(`^opa-[0-9][0-9A-Za-z.+-]{0,32}-[0-9a-f]{16}$`)

var admissionID = sync.OnceValue(func() string {
	c := capabilities()
	h := sha256.New()
	for _, b := range c.Builtins {
		_, _ = io.WriteString(h, b.Name+"\n")
	}
	for _, list := range [][]string{c.Features, c.FutureKeywords} {
		_, _ = io.WriteString(h, "--\n"+strings.Join(list, "\n"))
	}
	return "opa-" + version.Version + "-" + hex.EncodeToString(h.Sum(nil))[:16]
})
