// Package presence_test tests members of groups and objects: OnPresence, grace,
// values, restarts and crashes. The list itself is tested in internal/presence,
// without objects and clocks.
package presence_test

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
