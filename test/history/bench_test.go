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

// talker is what stores or sends a message in each turn.
type talker interface {
	Storage() *dog.Storage
	Broadcast(v any, options ...dog.SendOption) error
}

// ways are what a turn does with a message.
var ways = []struct {
	name string
	do   func(s talker, message string) error
}{
	{"key", put},
	{"message", func(s talker, message string) error { return s.Broadcast(message) }},
	{"both", func(s talker, message string) error {
		if err := put(s, message); err != nil {
			return err
		}
		return s.Broadcast(message)
	}},
}

func put(s talker, message string) error { return s.Storage().Put("message", []byte(message)) }

type objectTalker struct{ dog.Object }

func (o *objectTalker) Do(_ context.Context, way int) error { return ways[way].do(o, told) }

type replicaTalker struct{ dog.Replica }

func (r *replicaTalker) Do(_ context.Context, way int) error { return ways[way].do(r, told) }

// told is the message.
var told = strings.Repeat("x", 100)

// 64 objects, or the replicas of 64 groups, each with a caller, store or send a
// message of 100 bytes on a disk. Each call returns when its message is
// durable.
func BenchmarkDurableHistory(b *testing.B) {
	history := dog.HistoryOptions{Durable: true}
	owners := []struct {
		name string
		make func(b *testing.B, rt *dog.Runtime) func(caller int) (call func(way int) error)
	}{
		{"objects", func(b *testing.B, rt *dog.Runtime) func(int) func(int) error {
			talkers, err := dog.RegisterObject(rt, "talker", &dog.ObjectOptions[objectTalker]{History: history})
			require.NoError(b, err)
			return func(caller int) func(int) error {
				stub := talkers.Named(fmt.Sprint(caller))
				return func(way int) error { return dog.CallErr(b.Context(), stub, (*objectTalker).Do, way) }
			}
		}},
		{"groups", func(b *testing.B, rt *dog.Runtime) func(int) func(int) error {
			talkers, err := dog.RegisterReplica[replicaTalker](rt, "talker", nil)
			require.NoError(b, err)
			groups, err := dog.RegisterGroup(rt, "group", talkers, &dog.GroupOptions[dog.Group]{
				Limit: 10, History: history,
			})
			require.NoError(b, err)
			return func(caller int) func(int) error {
				stub, err := groups.Named(fmt.Sprint(caller)).Identify(b.Context(), "ada")
				require.NoError(b, err)
				return func(way int) error { return dog.CallErr(b.Context(), stub, (*replicaTalker).Do, way) }
			}
		}},
	}
	for _, owner := range owners {
		for way, w := range ways {
			b.Run(owner.name+"/"+w.name, func(b *testing.B) {
				const callers = 64
				rt, err := dog.New(dog.Options{Store: disk.At(b.TempDir())})
				require.NoError(b, err)
				defer rt.Shutdown(context.Background())
				stubOf := owner.make(b, rt)
				calls := make([]func(int) error, callers)
				for i := range calls {
					calls[i] = stubOf(i)
					require.NoError(b, calls[i](way))
				}
				b.ResetTimer()
				var all sync.WaitGroup
				for caller, call := range calls {
					all.Go(func() {
						for i := caller; i < b.N; i += callers {
							if err := call(way); err != nil {
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
}
