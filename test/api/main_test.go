// Package api_test tests the shape of the API and of the source: signatures,
// zero values, misuse, registration, doc comments and arrows between packages.
// It does not test what objects do; the other directories of test do.
package api_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
