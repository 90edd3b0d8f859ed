//go:build !linux

package conn

import "syscall"

const seesKernel = false

func unacked(syscall.RawConn) int { return 0 }

func window(syscall.RawConn) uint32 { return 0 }
