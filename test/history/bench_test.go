package history_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
)

// speaker stores or sends a message in each turn.
type speaker struct{ dog.Object }

func (s *speaker) Put(_ context.Context, message string) error {
	return s.Storage().Put("message", []byte(message))
}

func (s *speaker) Tell(_ context.Context, message string) error { return s.Broadcast(message) }

func (s *speaker) PutAndTell(ctx context.Context, message string) error {
	if err := s.Put(ctx, message); err != nil {
		return err
	}
	return s.Tell(ctx, message)
}

// 64 objects, each with a caller, store or send a message of 100 bytes on a
// disk. Each call returns when its message is durable.
func BenchmarkDurableHistory(b *testing.B) {
	message := strings.Repeat("x", 100)
	for _, c := range []struct {
		name string
		do   func(*speaker, context.Context, string) error
	}{
		{"key", (*speaker).Put}, {"message", (*speaker).Tell}, {"both", (*speaker).PutAndTell},
	} {
		b.Run(c.name, func(b *testing.B) {
			const callers = 64
			rt, err := dog.New(dog.Options{Store: disk.At(b.TempDir())})
			require.NoError(b, err)
			defer rt.Shutdown(context.Background())
			speakers, err := dog.RegisterObject(rt, "speaker", &dog.ObjectOptions[speaker]{
				History: dog.HistoryOptions{Durable: true},
			})
			require.NoError(b, err)
			var all sync.WaitGroup
			for caller := range callers {
				all.Go(func() {
					stub := speakers.Named(fmt.Sprint(caller))
					for i := caller; i < b.N; i += callers {
						if err := dog.CallErr(b.Context(), stub, c.do, message); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}
