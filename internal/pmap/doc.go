// Package pmap holds persistent collections: a map by string, a list and a sorted index.
// Each version is immutable and shares structure with the one before, so that a reader
// keeps what it has while one writer goes on; look-ups do not allocate.
package pmap
