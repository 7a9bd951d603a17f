//go:build !linux

package pgstore

import "syscall"

// tied can do nothing here: a test binary that is killed leaves its processes.
func tied(attr *syscall.SysProcAttr, _ syscall.Signal) *syscall.SysProcAttr { return attr }
