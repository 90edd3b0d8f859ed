//go:build !linux

package conn

import "syscall"

const seesKernel = false

func unacked(syscall.RawConn) int { return 0 }

func piece(syscall.RawConn) int { return 0 }

func look(syscall.RawConn) sight { return sight{} }
