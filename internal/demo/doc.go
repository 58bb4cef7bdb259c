// Package demo is the data that `tiergate dev` begins with.
package demo
