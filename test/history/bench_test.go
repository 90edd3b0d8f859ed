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

// teller stores or sends a message in each turn.
type teller struct{ dog.Object }

func (s *teller) Put(_ context.Context, message string) error {
	return s.Storage().Put("message", []byte(message))
}

func (s *teller) Tell(_ context.Context, message string) error { return s.Broadcast(message) }

func (s *teller) PutAndTell(ctx context.Context, message string) error {
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
		do   func(*teller, context.Context, string) error
	}{
		{"key", (*teller).Put}, {"message", (*teller).Tell}, {"both", (*teller).PutAndTell},
	} {
		b.Run(c.name, func(b *testing.B) {
			const callers = 64
			rt, err := dog.New(dog.Options{Store: disk.At(b.TempDir())})
			require.NoError(b, err)
			defer rt.Shutdown(context.Background())
			tellers, err := dog.RegisterObject(rt, "teller", &dog.ObjectOptions[teller]{
				History: dog.HistoryOptions{Durable: true},
			})
			require.NoError(b, err)
			var all sync.WaitGroup
			for caller := range callers {
				all.Go(func() {
					stub := tellers.Named(fmt.Sprint(caller))
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
