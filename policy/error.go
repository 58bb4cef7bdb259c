package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/tiergate/tiergate"
)

// A Problem is one thing that is wrong with a policy, at a place in one of its modules.
type Problem struct {
	File    string `json:"file"`          // the module's path; "" when it is no module's fault alone
	Row     int    `json:"row,omitempty"` // from 1; 0 when unknown
	Col     int    `json:"col,omitempty"` // from 1; 0 when unknown
	Message string `json:"message"`
}

// String returns "file:row:col: message".
func (p Problem) String() string {
	switch {
	case p.File == "":
		return p.Message
	case p.Row == 0:
		return p.File + ": " + p.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Row, p.Col, p.Message)
}

// An Error says why a policy is refused. It is Invalid to tiergate.CodeOf.
type Error struct {
	Problems []Problem // never empty
}

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes the error an Invalid one.
func (e *Error) Unwrap() error { return tiergate.Errorf(tiergate.Invalid, "the policy is refused") }

// refuse makes an Error of one problem.
func refuse(file, message string, args ...any) *Error {
	return &Error{Problems: []Problem{{File: file, Message: fmt.Sprintf(message, args...)}}}
}

func refuseAt(loc *ast.Location, message string, args ...any) *Error {
	e := refuse("", message, args...)
	if loc != nil {
		e.Problems[0].File, e.Problems[0].Row, e.Problems[0].Col = loc.File, loc.Row, loc.Col
	}
	return e
}

// maxProblems bounds how many of a module's mistakes are told at once.
const maxProblems = 20

// refusal makes an Error of what OPA reports about a module.
func refusal(file string, err error) *Error {
	var list ast.Errors
	if one, ok := errors.AsType[*ast.Error](err); ok {
		list = ast.Errors{one}
	}
	if many, ok := errors.AsType[ast.Errors](err); ok {
		list = many
	}
	if len(list) == 0 {
		return refuse(file, "%s", err.Error())
	}
	out := &Error{}
	for _, e := range list[:min(len(list), maxProblems)] {
		p := Problem{File: file, Message: e.Message}
		if e.Location != nil {
			p.Row, p.Col = e.Location.Row, e.Location.Col
			if e.Location.File != "" {
				p.File = e.Location.File
			}
		}
		if e.Code == ast.CompileErr || e.Code == ast.TypeErr {
			p.Message = strings.TrimPrefix(p.Message, e.Code+": ")
		}
		out.Problems = append(out.Problems, p)
	}
	return out
}
