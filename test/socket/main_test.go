// Package socket_test tests WebSockets of objects: connecting, sending, order,
// slow clients, refusals and ends. Frames and connections alone are tested in
// internal/conn, sockets of dog.v1 in test/history.
package socket_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
