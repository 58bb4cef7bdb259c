//go:build !linux

package localpg

import "syscall"

// runAs makes a child that runs as the account, outside our process group so that the
// terminal's Ctrl-C does not reach it before we stop it. This system does not end
// children with their parent: the next start stops what was left running.
func runAs(who account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if who.drop {
		attr.Credential = &syscall.Credential{Uid: uint32(who.uid), Gid: uint32(who.gid)}
	}
	return attr
}
