package policy_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"

	"github.com/tiergate/tiergate/policy"
	"github.com/tiergate/tiergate/rego"
)

// refused are OPA's functions that no policy may call. Together with the accepted ones
// they are all of v1.22.2: a new OPA makes this list wrong, and somebody decide.
var refused = strings.Fields(`
	all any base64url.encode_no_pad bits.lsh cast_array cast_boolean cast_null cast_object cast_set cast_string
	crypto.hmac.equal crypto.hmac.md5 crypto.hmac.sha1 crypto.hmac.sha256 crypto.hmac.sha512 crypto.md5
	crypto.parse_private_keys crypto.sha1 crypto.sha256 crypto.x509.parse_and_verify_certificates
	crypto.x509.parse_and_verify_certificates_with_options crypto.x509.parse_certificate_request
	crypto.x509.parse_certificates crypto.x509.parse_keypair crypto.x509.parse_rsa_private_key glob.match
	glob.quote_meta graph.reachable_paths graphql.is_valid graphql.parse graphql.parse_and_verify
	graphql.parse_query graphql.parse_schema graphql.schema_is_valid hex.decode hex.encode http.send io.jwt.decode
	io.jwt.decode_verify io.jwt.encode_sign io.jwt.encode_sign_raw io.jwt.verify_eddsa io.jwt.verify_es256
	io.jwt.verify_es384 io.jwt.verify_es512 io.jwt.verify_hs256 io.jwt.verify_hs384 io.jwt.verify_hs512
	io.jwt.verify_ps256 io.jwt.verify_ps384 io.jwt.verify_ps512 io.jwt.verify_rs256 io.jwt.verify_rs384
	io.jwt.verify_rs512 json.marshal_with_options json.match_schema json.verify_schema net.cidr_contains_matches
	net.cidr_expand net.cidr_merge net.cidr_overlap net.lookup_ip_addr numbers.range numbers.range_step
	opa.runtime print providers.aws.sign_req rand.intn re_match regex.find_all_string_submatch_n regex.globs_match
	regex.template_match rego.metadata.chain rego.metadata.rule rego.parse_module set_diff strings.render_template
	strings.replace_n strings.split_n time.now_ns trace uri.is_valid uri.parse urlquery.decode
	urlquery.decode_object urlquery.encode urlquery.encode_object uuid.parse uuid.rfc4122 yaml.is_valid
	yaml.marshal yaml.unmarshal
`)

// Of each of OPA's functions it is pinned whether a module that calls it compiles.
func TestCapabilities_accept_exactly_the_list(t *testing.T) {
	var got, nondeterministic []string
	for _, b := range ast.Builtins {
		if b.Relation || b.Infix != "" || strings.HasPrefix(b.Name, "internal.") || b.Name == "eq" || b.Name == "assign" {
			continue // operators and what the compiler writes
		}
		args := make([]string, len(b.Decl.NamedFuncArgs().Args))
		for i := range args {
			args[i] = fmt.Sprintf("input.attributes.x%d", i)
		}
		call := fmt.Sprintf("%s(%s)", b.Name, strings.Join(args, ", "))
		if b.Name == "sprintf" || b.Name == "concat" {
			call = b.Name + `("x", input.attributes.x)`
		}
		text := "package tiergate.probe\n\np := x if x := " + call
		if _, err := policy.Compile(map[string]string{"probe.rego": text}, policy.Definitions{}); err != nil {
			if !strings.Contains(err.Error(), "undefined function "+b.Name) && !strings.Contains(err.Error(), b.Name) && !strings.Contains(err.Error(), "deprecated") {
				t.Errorf("%s is refused for something else: %v", b.Name, err)
			}
			got = append(got, b.Name)
		} else if b.IsNondeterministic() {
			nondeterministic = append(nondeterministic, b.Name)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, refused) {
		t.Errorf("refused are\n%s", strings.Join(got, " "))
	}
	if len(nondeterministic) > 0 {
		t.Errorf("accepted and no function of their input: %v", nondeterministic)
	}
}

// Policies can connect to no host, which only an empty list that is not nil says.
func TestCapabilities_allow_no_host(t *testing.T) {
	c := policy.Capabilities()
	if c.AllowNet == nil || len(c.AllowNet) != 0 {
		t.Errorf("AllowNet is %#v", c.AllowNet)
	}
	for _, name := range policy.Allowed() {
		if !c.ContainsBuiltin(name) {
			t.Errorf("%s is allowed, but OPA has no such function", name)
		}
	}
}

// The built-in Rego is formatted, and every rule says in a title what it is.
func TestBuiltin_is_formatted_and_titled(t *testing.T) {
	modules := rego.Modules()
	maps.Copy(modules, rego.Tests())
	for path, text := range modules {
		formatted, err := format.Source(path, []byte(text))
		if err != nil || string(formatted) != text {
			t.Errorf("%s is not as opa fmt writes it (%v):\n%s", path, err, formatted)
		}
		m, err := ast.ParseModuleWithOpts(path, text, ast.ParserOptions{ProcessAnnotation: true})
		if err != nil {
			t.Fatal(err)
		}
		if want := "package " + strings.ReplaceAll(path[:strings.LastIndexByte(path, '/')], "/", "."); !strings.HasPrefix(m.Package.String(), want) {
			t.Errorf("%s holds %s, whose place is another folder", path, m.Package)
		}
		if strings.HasSuffix(path, "_test.rego") {
			continue
		}
		for _, rule := range m.Rules {
			if len(rule.Annotations) == 0 || rule.Annotations[0].Title == "" {
				t.Errorf("%s:%d: the rule %s has no title", path, rule.Location.Row, rule.Head.Ref())
			}
		}
	}
}
