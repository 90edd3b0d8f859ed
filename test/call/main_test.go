// Package call_test tests calls of methods of objects: arguments, results,
// order and ends. What a call does to the turn of its caller is tested here,
// other uses of the turn in test/turn.
package call_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
