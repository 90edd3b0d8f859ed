// Package gate_test tests the output gate: an object's output is held until its
// writes are durable, and dropped if they are undone. Storage itself is tested
// in test/storage, failing disks in test/faults.
package gate_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
