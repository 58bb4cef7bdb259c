package tiergate

import (
	"errors"
	"fmt"
)

// Code says what kind of failure an Error is. Each door maps codes to its own
// protocol in one place.
type Code string

// The codes of domain errors.
const (
	Invalid      Code = "invalid"      // the caller sent something that can never work
	Unauthorized Code = "unauthorized" // no credential, or not a valid one
	Forbidden    Code = "forbidden"    // the caller may not do this
	NotFound     Code = "not_found"    // there is no such thing, or the caller may not know of it
	Conflict     Code = "conflict"     // it exists already, or the state does not allow it
	Stale        Code = "stale"        // an If-Match that no longer holds
	KeyReused    Code = "key_reused"   // an idempotency key that stands for another request
	Gone         Code = "gone"         // it was there, and its time is over
	Exhausted    Code = "exhausted"    // a limit has not as much left
	Unavailable  Code = "unavailable"  // something behind us is away; trying again may help
	Internal     Code = "internal"     // a bug or a broken dependency; people see no details
)

// Error is a domain error: Code for machines, Message for people, Err for operators.
type Error struct {
	Code    Code
	Message string
	Field   string // the field at fault as a JSON path ("rules.percentage"), or ""
	Err     error  // the cause; never shown to callers
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error whose message people may see. Wrap a cause with Because.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Because sets the cause, which operators see and callers do not.
func (e *Error) Because(err error) *Error {
	e.Err = err
	return e
}

// FieldErrorf makes an Invalid error about one field, named by its JSON path.
func FieldErrorf(field, format string, args ...any) *Error {
	return &Error{Code: Invalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the first Error in err's chain, Internal for any
// other error, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}
