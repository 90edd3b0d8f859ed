package replog_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/replog"
	"github.com/godurable/dog/internal/store"
)

// Nodes take a log from each other while their connections are bad. At the end
// all nodes have the same; what a commit was confirmed is there; of what one
// owner has committed, a first part is there; a batch is there as a whole.
func TestClaim_ManyOwnersOverBadConnections(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			random, mu := rand.New(rand.NewPCG(seed, 1)), new(sync.Mutex)
			memory := new(replog.Memory)
			draw := func(n int) int {
				mu.Lock()
				defer mu.Unlock()
				return random.IntN(n)
			}
			const nodes = 3
			var locals [nodes]*store.Memory
			var confirmed [nodes][]string
			var running sync.WaitGroup
			for i := range nodes {
				locals[i] = store.NewMemory()
				log := &link{Log: memory, fate: chance(random, mu), think: thought(random, mu)}
				running.Go(func() {
					s := open(t, locals[i])
					for term := range 6 {
						time.Sleep(time.Duration(draw(4000)) * time.Millisecond)
						if err := s.Follow(t.Context(), log); err != nil {
							t.Errorf("seed %d: %v", seed, err)
							return
						}
						options := replog.Options{MaxRecord: 50 + draw(100), Window: 1 + draw(4)}
						e, err := s.Claim(t.Context(), log, fmt.Appendf(nil, "%d.%d", i, term), options)
						if err != nil {
							if !errors.Is(err, replog.ErrConflict) {
								t.Errorf("seed %d: %v", seed, err)
							}
							continue
						}
						confirmed[i] = append(confirmed[i], write(t, e, fmt.Sprintf("%d.%d", i, term), draw)...)
					}
				})
			}
			running.Wait()
			time.Sleep(10 * time.Second) // for late copies
			want := followed(t, memory)
			for i, local := range locals {
				require.NoError(t, open(t, local).Follow(t.Context(), memory))
				require.Equal(t, want, contents(t, local), "seed %d", seed)
				for _, key := range confirmed[i] {
					require.Contains(t, want, "pd"+key, "seed %d", seed)
				}
			}
			for key := range want {
				var i, term, n int
				if read, _ := fmt.Sscanf(key, "pda/%d.%d/%d", &i, &term, &n); read != 3 {
					continue
				}
				require.Contains(t, want, fmt.Sprintf("pdb/%d.%d/%d", i, term, n), "seed %d", seed)
				if n > 0 {
					require.Contains(t, want, fmt.Sprintf("pda/%d.%d/%d", i, term, n-1), "seed %d", seed)
				}
			}
		})
	}
}

// write commits as the owner of a log for a while, and returns the keys of the
// commits that were confirmed.
func write(t *testing.T, e *replog.Engine, name string, draw func(int) int) (confirmed []string) {
	var mu sync.Mutex
	for n := range 5 + draw(20) {
		b := e.Begin()
		key := fmt.Sprintf("/%s/%d", name, n)
		b.Set([]byte("a"+key), []byte(strings.Repeat("v", draw(60))))
		b.Set([]byte("b"+key), nil)
		number, err := b.Commit()
		if err != nil {
			break
		}
		e.OnDurable(number, func(err error) {
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				confirmed = append(confirmed, "a"+key, "b"+key)
			}
		})
		time.Sleep(time.Duration(draw(300)) * time.Millisecond)
	}
	if err := e.Close(); err != nil && !errors.Is(err, store.ErrFailed) {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	return confirmed
}
