// Package turn_test tests turns: one handler at a time, which methods give the
// turn up, deadlocks and misused contexts. The lock itself is tested in
// internal/turn, calls in test/call.
package turn_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
