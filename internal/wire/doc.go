// Package wire holds the messages of the gRPC protocols in the folders below: the .proto files,
// and what `make generate` makes of them. They are the program's own: what other programs link
// must not import them, because two packages in one program that register the same protobuf
// names, such as flagd's own, end it.
package wire
