//go:build !linux

package conn

import "errors"

// epoll exists only on Linux.
type epoll struct{}

func openEpoll() (*epoll, error) { return nil, errors.ErrUnsupported }

func (*epoll) arm(direct, int32, bool) error { return errors.ErrUnsupported }

func (*epoll) wait(func(tokens []int32)) {}

func (*epoll) close() {}
