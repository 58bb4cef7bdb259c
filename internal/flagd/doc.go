// Package flagd reads flagd flag files, JSON or YAML, into the words of tiergate. What is
// wrong with one flag is a Problem of that flag; only a document that cannot be read at
// all is an error. Package flagdtest holds what we decide against flagd's own library.
package flagd
