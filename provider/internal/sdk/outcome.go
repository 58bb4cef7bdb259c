package sdk

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"unsafe"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
)

// An Outcome is an answer whose type nobody has asked for yet. Its Value is immutable JSON; nil
// means the caller's code default, which is no error. Its metadata may be shared, and are not
// changed.
type Outcome struct {
	Value json.RawMessage
	openfeature.ProviderResolutionDetail
}

// Failed is the outcome of an error.
func Failed(code tiergate.ErrorCode, details string) Outcome {
	var o Outcome
	o.Fail(code, details)
	return o
}

// Fail makes an error of o, which keeps its metadata.
func (o *Outcome) Fail(code tiergate.ErrorCode, details string) {
	o.Value, o.Variant, o.Reason = nil, "", openfeature.ErrorReason
	o.ResolutionError = errorOf(code, details)
}

// Erred reports whether o is an error.
func (o *Outcome) Erred() bool { return o.Reason == openfeature.ErrorReason }

// errorOf maps our codes to the SDK's errors: the one place where that is said.
func errorOf(code tiergate.ErrorCode, details string) openfeature.ResolutionError {
	switch code {
	case tiergate.FlagNotFound:
		return openfeature.NewFlagNotFoundResolutionError(details)
	case tiergate.ParseError:
		return openfeature.NewParseErrorResolutionError(details)
	case tiergate.TypeMismatch:
		return openfeature.NewTypeMismatchResolutionError(details)
	case tiergate.TargetingKeyMissing:
		return openfeature.NewTargetingKeyMissingResolutionError(details)
	case tiergate.InvalidContext:
		return openfeature.NewInvalidContextResolutionError(details)
	case tiergate.ProviderNotReady:
		return openfeature.NewProviderNotReadyResolutionError(details)
	}
	return openfeature.NewGeneralResolutionError(details)
}

// resolved is o for a caller with a code default, before its value is read. The metadata are the
// caller's own: the SDK's multi-provider writes into what it is given.
func resolved[T any](o *Outcome, standard T) openfeature.GenericResolutionDetail[T] {
	d := openfeature.GenericResolutionDetail[T]{Value: standard, ProviderResolutionDetail: o.ProviderResolutionDetail}
	d.FlagMetadata = maps.Clone(d.FlagMetadata)
	return d
}

func mismatch[T any](d *openfeature.GenericResolutionDetail[T], details string) {
	d.Variant, d.Reason = "", openfeature.ErrorReason
	d.ResolutionError = openfeature.NewTypeMismatchResolutionError(details)
}

// Bool reads a boolean.
func Bool(o Outcome, standard bool) openfeature.BoolResolutionDetail {
	d := resolved(&o, standard)
	switch {
	case o.Value == nil:
	case string(o.Value) == "true":
		d.Value = true
	case string(o.Value) == "false":
		d.Value = false
	default:
		mismatch(&d, "the flag is not a boolean")
	}
	return d
}

// String reads a string. It may share the memory of the outcome's value.
func String(o Outcome, standard string) openfeature.StringResolutionDetail {
	d := resolved(&o, standard)
	if o.Value == nil {
		return d
	}
	if text, ok := textOf(o.Value); ok {
		d.Value = text
	} else {
		mismatch(&d, "the flag is not a string")
	}
	return d
}

// textOf reads a JSON string; one without escapes is read in place.
func textOf(value json.RawMessage) (string, bool) {
	n := len(value)
	if n < 2 || value[0] != '"' {
		return "", false
	}
	inner := unsafe.String(unsafe.SliceData(value[1:]), n-2)
	if strings.IndexByte(inner, '\\') < 0 {
		return inner, true
	}
	var text string
	return text, json.Unmarshal(value, &text) == nil
}

// Float reads a number, whole ones too.
func Float(o Outcome, standard float64) openfeature.FloatResolutionDetail {
	d := resolved(&o, standard)
	if o.Value == nil {
		return d
	}
	f, err := strconv.ParseFloat(view(o.Value), 64)
	if !isNumber(o.Value) || err != nil {
		mismatch(&d, "the flag is not a number that a float64 can hold")
		return d
	}
	d.Value = f
	return d
}

// Int reads a whole number, also one that is written as 10.0 or 1e3. Nothing is cut off: a
// fraction and what no int64 can hold are mismatches.
func Int(o Outcome, standard int64) openfeature.IntResolutionDetail {
	d := resolved(&o, standard)
	if o.Value == nil {
		return d
	}
	if n, ok := wholeOf(o.Value); ok {
		d.Value = n
	} else {
		mismatch(&d, "the flag is not a whole number that an int64 can hold")
	}
	return d
}

func wholeOf(value json.RawMessage) (int64, bool) {
	if !isNumber(value) {
		return 0, false
	}
	if n, err := strconv.ParseInt(view(value), 10, 64); err == nil {
		return n, true
	}
	return wholeOfDigits(view(value))
}

// wholeOfDigits reads a JSON number with a fraction or an exponent by its digits: a float64 does not
// hold all that an int64 does.
func wholeOfDigits(text string) (int64, bool) {
	mantissa, scale := text, 0
	var tooFar error
	if at := strings.IndexAny(text, "eE"); at >= 0 {
		mantissa = text[:at]
		scale, tooFar = strconv.Atoi(text[at+1:])
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	all := whole + fraction
	digits := strings.TrimRight(all, "0")
	if digits == "" || digits == "-" {
		return 0, true
	}
	zeros := scale - len(fraction) + len(all) - len(digits)
	if tooFar != nil || zeros < 0 || zeros > 18 { // 19 are beyond every int64
		return 0, false
	}
	n, err := strconv.ParseInt(digits+strings.Repeat("0", zeros), 10, 64)
	return n, err == nil
}

// Object reads an object into a map of the caller's own, as encoding/json has it.
func Object(o Outcome, standard any) openfeature.InterfaceResolutionDetail {
	d := resolved(&o, standard)
	if o.Value == nil {
		return d
	}
	var object map[string]any
	if len(o.Value) == 0 || o.Value[0] != '{' || json.Unmarshal(o.Value, &object) != nil {
		mismatch(&d, "the flag is not an object")
		return d
	}
	d.Value = object
	return d
}

// isNumber tells a number from what only strconv takes for one, by its first byte.
func isNumber(value json.RawMessage) bool {
	return len(value) > 0 && (value[0] == '-' || value[0] >= '0' && value[0] <= '9')
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
