// Package structvalue turns protobuf's JSON values (google.protobuf.Struct and Value) into
// tiergate.Values and back, without JSON text in between. What it makes of a message is what
// internal/jsonvalue makes of that message's JSON form, so that all doors see the same.
package structvalue
