// Package outbox_test tests queues of commands with devices that break, repeat
// and restart. The device's side of package client and of dog-commands.js is
// tested in client.
package outbox_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
