package policy

import "context"

// Admit is a stub.
func Admit(_ context.Context, modules map[string]string, defs Definitions) (string, error) {
	_, err := Compile(modules, defs)
	return AdmissionID(), err
}

// AdmissionMain is a stub.
func AdmissionMain() {}
