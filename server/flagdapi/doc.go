// Package flagdapi is the door for flagd's clients: flagd.evaluation.v1 and .v2, with the codes,
// reasons and events that flagd's providers know. Answers and their metadata are those of the
// OFREP door.
//
// An EventStream tells which flags may be answered otherwise, so that a client that keeps STATIC
// answers drops those, and that something about users or teams is different or that the clock
// turned, which names no flag. It begins with what changed while its client may have had no stream.
package flagdapi
