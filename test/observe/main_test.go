// Package observe_test tests what a program can observe: Stats, Totals, slow
// sockets and the hooks of Trace. The metrics for Prometheus are tested in
// package dogprom.
package observe_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
