package timer_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

type bigTimer struct {
	dog.Object
	memory []byte
}

func (b *bigTimer) Begin(context.Context) error {
	b.memory = make([]byte, 1<<20)
	b.After(time.Hour, func(context.Context) error { b.memory[0]++; return nil })
	return nil
}

func TestTimer_KeepsNothingInMemoryAfterShutdown(t *testing.T) {
	freed := make(chan struct{})
	func() {
		rt, err := dog.New(dog.Options{})
		require.NoError(t, err)
		ns, err := dog.RegisterObject(rt, "big", &dog.ObjectOptions[bigTimer]{New: func() *bigTimer {
			b := new(bigTimer)
			runtime.AddCleanup(b, func(c chan struct{}) { close(c) }, freed)
			return b
		}})
		require.NoError(t, err)
		require.NoError(t, dog.CallErr0(t.Context(), ns.Named("a"), (*bigTimer).Begin))
		require.NoError(t, rt.Shutdown(t.Context()))
	}()
	late := time.After(time.Minute)
	for {
		runtime.GC()
		select {
		case <-freed:
			return
		case <-late:
			require.FailNow(t, "the timer keeps the object and its runtime in memory for an hour")
		default: // the cleanup may need another collection
		}
	}
}
