// Package history_test tests histories and clients of dog.v1: resuming, gaps,
// reading over HTTP, and messages that take effect once. The Go client and
// dog.js have their own tests in client, queues of commands in test/outbox.
package history_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/godurable/dog/internal/program"
)

func TestMain(m *testing.M) {
	if data := program.DataOf(); data != "" {
		serveUntilKilled(data)
		return
	}
	goleak.VerifyTestMain(m)
}
