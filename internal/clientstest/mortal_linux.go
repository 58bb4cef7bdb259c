package clientstest

import "syscall"

// mortal makes a child that the kernel kills when we die without a word.
func mortal() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
