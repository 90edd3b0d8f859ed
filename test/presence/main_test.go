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
