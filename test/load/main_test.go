// Package load_test tests promises under load: random clients, churn, slow
// readers and many sockets. Benchmarks that compare with other libraries are in
// the module bench.
package load_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
