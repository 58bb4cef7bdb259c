package targeting

import (
	"math"
	"strconv"
	"strings"
)

// maxSafe is JavaScript's Number.MAX_SAFE_INTEGER.
const maxSafe = 1<<53 - 1

// A version is a semantic version as npm semver reads it, without its build.
type version struct {
	major, minor, patch int64
	pre                 string // the prerelease, "" when there is none
}

// parseVersion reads a version leniently: a leading v or V is dropped, "1" and "1.2" are
// 1.0.0 and 1.2.0.
func parseVersion(s string) (version, bool) {
	if s != "" && (s[0] == 'v' || s[0] == 'V') {
		s = s[1:]
	}
	if lengthUTF16(s) <= 256 {
		if v, ok := parseStrict(strings.TrimPrefix(trimSpace(s), "v")); ok {
			return v, true
		}
	}
	major, minor, two := strings.Cut(s, ".")
	if !two {
		minor = "0"
	}
	if !allDigits(major) || !allDigits(minor) {
		return version{}, false
	}
	return parseStrict(major + "." + minor + ".0")
}

func parseStrict(s string) (v version, ok bool) {
	s, build, hasBuild := strings.Cut(s, "+")
	if hasBuild && !identifiers(build, false) {
		return version{}, false
	}
	s, pre, hasPre := strings.Cut(s, "-")
	if hasPre && !identifiers(pre, true) {
		return version{}, false
	}
	major, rest, ok1 := strings.Cut(s, ".")
	minor, patch, ok2 := strings.Cut(rest, ".")
	if !ok1 || !ok2 {
		return version{}, false
	}
	v.pre = pre
	for _, part := range []struct {
		text string
		to   *int64
	}{{major, &v.major}, {minor, &v.minor}, {patch, &v.patch}} {
		n, ok := versionNumber(part.text)
		if !ok {
			return version{}, false
		}
		*part.to = n
	}
	return v, true
}

// versionNumber reads digits without a leading zero.
func versionNumber(s string) (int64, bool) {
	if !allDigits(s) || len(s) > 16 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n <= maxSafe
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// identifiers reports whether s is identifiers with dots between; in a prerelease numeric
// ones have no leading zero.
func identifiers(s string, prerelease bool) bool {
	for more := true; more; {
		var id string
		id, s, more = strings.Cut(s, ".")
		if id == "" || prerelease && len(id) > 1 && id[0] == '0' && allDigits(id) {
			return false
		}
		for i := range len(id) {
			b := id[i]
			if (b < '0' || b > '9') && (b|0x20 < 'a' || b|0x20 > 'z') && b != '-' {
				return false
			}
		}
	}
	return true
}

// compare orders by precedence: -1, 0 or 1.
func (v version) compare(w version) int {
	for _, pair := range [3][2]int64{{v.major, w.major}, {v.minor, w.minor}, {v.patch, w.patch}} {
		if pair[0] != pair[1] {
			if pair[0] < pair[1] {
				return -1
			}
			return 1
		}
	}
	switch {
	case v.pre == w.pre:
		return 0
	case v.pre == "":
		return 1
	case w.pre == "":
		return -1
	}
	return comparePrerelease(v.pre, w.pre)
}

func comparePrerelease(a, b string) int {
	for moreA, moreB := true, true; moreA || moreB; {
		if !moreA {
			return -1
		}
		if !moreB {
			return 1
		}
		var x, y string
		x, a, moreA = strings.Cut(a, ".")
		y, b, moreB = strings.Cut(b, ".")
		if x != y {
			return compareIdentifiers(x, y)
		}
	}
	return 0
}

// compareIdentifiers orders two identifiers: numbers by value and before words.
func compareIdentifiers(x, y string) int {
	numX, numY := allDigits(x), allDigits(y)
	switch {
	case numX && numY:
		return compareDigits(x, y)
	case numX:
		return -1
	case numY:
		return 1
	}
	return strings.Compare(x, y)
}

// compareDigits orders numbers as float64, which is how JavaScript reads them.
func compareDigits(x, y string) int {
	a, errA := strconv.ParseFloat(x, 64)
	b, errB := strconv.ParseFloat(y, 64)
	if errA != nil {
		a = math.Inf(1)
	}
	if errB != nil {
		b = math.Inf(1)
	}
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// compareVersions answers sem_ver; false when an input is not a version or the operator
// not one of = != < <= > >= ^ ~.
func compareVersions(a, op, b string) (result, ok bool) {
	v, okV := parseVersion(a)
	w, okW := parseVersion(b)
	if !okV || !okW {
		return false, false
	}
	c := v.compare(w)
	switch op {
	case "=":
		return c == 0, true
	case "!=":
		return c != 0, true
	case "<":
		return c < 0, true
	case "<=":
		return c <= 0, true
	case ">":
		return c > 0, true
	case ">=":
		return c >= 0, true
	case "^":
		return v.major == w.major, true
	case "~":
		return v.major == w.major && v.minor == w.minor, true
	}
	return false, false
}
