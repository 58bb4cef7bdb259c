//go:build !linux

package clientstest

import "syscall"

// mortal makes a child that a killed parent leaves behind: this system knows no better.
func mortal() *syscall.SysProcAttr { return nil }
