// Package life_test tests the life of an object: start, reset, eviction,
// hibernation, and Shutdown with Serve. Reading stored data after a restart is
// tested in test/storage, killed processes in test/faults.
package life_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
