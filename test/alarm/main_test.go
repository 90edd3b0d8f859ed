// Package alarm_test tests alarms: when they run, how they are retried, and
// that restarts keep them. Their storage is tested in test/storage, crashes in
// test/faults, timers in test/timer.
package alarm_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
