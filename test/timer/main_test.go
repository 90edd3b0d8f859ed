// Package timer_test tests Object.After and Object.Every. Alarms, which outlive
// the process, are tested in test/alarm.
package timer_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
