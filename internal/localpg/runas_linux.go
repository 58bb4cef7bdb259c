package localpg

import "syscall"

// runAs makes a child that runs as the account, outside our process group so that the
// terminal's Ctrl-C does not reach it before we stop it, and that the kernel asks for a
// fast shutdown when we die without a word.
func runAs(who account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
	if who.drop {
		attr.Credential = &syscall.Credential{Uid: uint32(who.uid), Gid: uint32(who.gid)}
	}
	return attr
}
