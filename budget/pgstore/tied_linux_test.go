package pgstore

import "syscall"

// tied ends a process with the one that starts it, however that ends: a test binary that is killed cleans nothing up.
func tied(attr *syscall.SysProcAttr, by syscall.Signal) *syscall.SysProcAttr {
	attr.Pdeathsig = by
	return attr
}
