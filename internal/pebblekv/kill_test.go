package pebblekv_test

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/pebblekv"
)

var kills = flag.Int("kills", 25, "how often TestKill_LosesNothingDurable kills the process")

const (
	childDir   = "DOG_PEBBLEKV_CHILD" // the variable that makes a process of this test the one to be killed
	killers    = 16                   // goroutines that commit
	killWindow = 100                  // keys of each that stay
)

func killConfig(dir string) pebblekv.Config { return pebblekv.Config{Dir: dir, Memtable: 256 << 10} }

func countKey(g int) []byte { return fmt.Appendf(nil, "count/%02d", g) }

func itemKey(g int, i uint64) []byte { return fmt.Appendf(nil, "item/%02d/%012d", g, i) }

func count(t require.TestingT, e *pebblekv.Engine, g int) uint64 {
	v, found, err := e.Get(countKey(g))
	require.NoError(t, err)
	if !found {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}

// child commits until it is killed, and prints which commits are durable.
func child(dir string) {
	e, err := pebblekv.Open(killConfig(dir), nil)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for g := range killers {
		go func() {
			for i := count(panicking{}, e, g) + 1; ; i++ {
				b := e.Begin()
				b.Set(countKey(g), binary.BigEndian.AppendUint64(nil, i))
				b.Set(itemKey(g, i), fill(i, 100))
				if i > killWindow {
					b.Delete(itemKey(g, i-killWindow))
				}
				n, err := b.Commit()
				if err != nil {
					panic(err)
				}
				// Some follow on, so that several are under way.
				if i%uint64(g+1) == 0 {
					if err := wait(e, n); err != nil {
						panic(err)
					}
					_, _ = fmt.Printf("%d %d\n", g, i)
				}
			}
		}()
	}
	select {}
}

type panicking struct{}

func (panicking) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (panicking) FailNow()                          { panic("failed") }

func TestKill_LosesNothingDurable(t *testing.T) {
	dir := t.TempDir()
	durable := make([]uint64, killers)
	for range *kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		require.True(t, lines.Scan())
		var killer sync.WaitGroup
		killer.Go(func() {
			time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
			_ = cmd.Process.Kill()
		})
		for more := true; more; more = lines.Scan() {
			var g int
			var i uint64
			// The last line may be torn, and then has a smaller number.
			if n, _ := fmt.Sscanf(lines.Text(), "%d %d", &g, &i); n == 2 && g < killers {
				durable[g] = max(durable[g], i)
			}
		}
		killer.Wait()
		require.Error(t, cmd.Wait(), "it was killed")

		e := open(t, killConfig(dir))
		for g := range killers {
			last := count(t, e, g)
			require.GreaterOrEqual(t, last, durable[g], "a durable commit is lost")
			i := uint64(0)
			if last > killWindow {
				i = last - killWindow
			}
			for p, err := range e.Scan(itemKey(g, 0), itemKey(g+1, 0), false) {
				require.NoError(t, err)
				i++
				require.Equal(t, string(itemKey(g, i)), string(p.Key))
				require.Equal(t, fill(i, 100), p.Value)
			}
			require.Equal(t, last, i, "a commit was torn")
		}
		require.NoError(t, e.Close())
	}
	var total uint64
	for _, n := range durable {
		total += n
	}
	t.Log(*kills, "kills,", total, "commits")
}
