// Package faults_test tests what real use and broken disks do: killed
// processes, power cuts, full volumes, and the faults of the original DOG by
// number. Functions without a fault are tested in the directory of their
// subject.
package faults_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
