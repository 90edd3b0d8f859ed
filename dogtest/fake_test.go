package dogtest_test

import (
	"context"
	"log"
	"slices"
	"testing"
)

// fakeT stands for the testing.T of a test in the examples, which have none.
// A failure ends the program.
type fakeT struct {
	testing.TB // nil
	cleanups   []func()
}

func newT() *fakeT { return &fakeT{} }

func (t *fakeT) Helper()                           {}
func (t *fakeT) Log(...any)                        {}
func (t *fakeT) Context() context.Context          { return context.Background() }
func (t *fakeT) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }
func (t *fakeT) Errorf(format string, args ...any) { log.Fatalf(format, args...) }
func (t *fakeT) Fatalf(format string, args ...any) { log.Fatalf(format, args...) }
func (t *fakeT) Fatal(args ...any)                 { log.Fatal(args...) }

// end runs the cleanups, as the end of a test does.
func (t *fakeT) end() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}
