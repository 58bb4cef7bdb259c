// Package listen opens the listeners of all doors: host:port or a Unix socket, TLS whose
// files are read again when they change, and the rules of who may reach them: nothing
// beyond loopback without TLS unless told so, and no Host header that is not ours.
package listen
