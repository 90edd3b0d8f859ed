package roster_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/roster"
)

const nameLen = 12

// name returns the i-th uid of a benchmark, of nameLen bytes.
func name(i int) string { return fmt.Sprintf("user-%07d", i) }

// arrivals returns the first n names in random order, side by side in memory:
// an id that comes with a request is in the cache, what the book knows of it is
// not.
func arrivals(rnd *rand.Rand, n int) []string {
	var all strings.Builder
	for _, i := range rnd.Perm(n) {
		all.WriteString(name(i))
	}
	names := make([]string, n)
	for i := range names {
		names[i] = all.String()[i*nameLen : (i+1)*nameLen]
	}
	return names
}

// populate makes a book in which n names linger, limit of them on each replica.
func populate(tb testing.TB, rnd *rand.Rand, n, limit int) *roster.Book[int, *int] {
	b := roster.New[int, *int](roster.Config{Limit: limit, Reserve: time.Hour, Linger: time.Hour, Retire: time.Hour})
	for i := range n / limit {
		_, err := b.Add(fmt.Sprint("replica-", i), i, 0)
		require.NoError(tb, err)
	}
	places := make([]*roster.Place[int, *int], n)
	for i, rid := range arrivals(rnd, n) {
		p, err := b.Reserve(rid, 0)
		if err != nil || !b.Claim(p, 0) {
			tb.Fatal("no place for ", rid, err)
		}
		places[i] = p
	}
	for _, i := range rnd.Perm(n) {
		b.Release(places[i], 0)
	}
	return b
}

// BenchmarkReserveRelease is one visit of an id that lingers.
func BenchmarkReserveRelease(b *testing.B) {
	for _, ids := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("ids=%d/replicas=%d", ids, ids/50), func(b *testing.B) {
			rnd := rand.New(rand.NewPCG(1, 2))
			book := populate(b, rnd, ids, 50)
			// With a single order an id would always come after the one it
			// lingers behind.
			orders := [3][]string{arrivals(rnd, ids), arrivals(rnd, ids), arrivals(rnd, ids)}
			b.ReportAllocs()
			i, order := 0, 0
			for b.Loop() {
				p, err := book.Reserve(orders[order][i], 1)
				if err != nil || !book.Claim(p, 1) {
					b.Fatal(err)
				}
				book.Release(p, 1)
				if i++; i == ids {
					i, order = 0, (order+1)%len(orders)
				}
			}
		})
	}
}

// BenchmarkLinger is a new id that comes and goes, one in a million that
// linger; it reports what those take.
func BenchmarkLinger(b *testing.B) {
	const ids, limit = 1_000_000, 50
	now := roster.Time(0)
	book := roster.New[int, *int](roster.Config{Limit: limit, Linger: ids})
	replica, err := book.Add("replica", 0, 0)
	require.NoError(b, err)
	visit := func(rid string) {
		p, err := book.Take(replica, rid, now)
		if err != nil {
			b.Fatal(err)
		}
		book.Release(p, now)
	}
	names := arrivals(rand.New(rand.NewPCG(1, 2)), 3*ids)
	before := heap()
	for _, rid := range names[:ids] {
		visit(rid)
	}
	perID := float64(heap()-before) / ids
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		now++ // so that for each id that comes one is forgotten
		if now%(ids/30) == 0 {
			book.Tick(now, func(*roster.Replica[int, *int]) bool { return false })
		}
		visit(names[i])
		if i++; i == len(names) {
			i = 0
		}
	}
	b.ReportMetric(perID, "bytes/id")
	b.ReportMetric(float64(book.Lingering())/ids, "records/id")
}

// BenchmarkIDOnManyReplicas is the same for a single id that holds nearly all
// places of 20,000 replicas.
func BenchmarkIDOnManyReplicas(b *testing.B) {
	const replicas, limit = 20_000, 50
	rnd := rand.New(rand.NewPCG(1, 2))
	book := roster.New[int, *int](roster.Config{Limit: limit, Reserve: time.Hour, Linger: time.Hour})
	for i := range replicas {
		_, err := book.Add(fmt.Sprint("replica-", i), i, 0)
		require.NoError(b, err)
	}
	places := make([]*roster.Place[int, *int], replicas*limit*9/10)
	reserve := func(i int) {
		p, err := book.Reserve("guest", 0)
		if err != nil || !book.Claim(p, 0) {
			b.Fatal("no place", err)
		}
		places[i] = p
	}
	for i := range places {
		reserve(i)
	}
	b.ReportAllocs()
	for b.Loop() {
		i := rnd.IntN(len(places))
		book.Release(places[i], 0)
		reserve(i)
	}
}

// BenchmarkNewcomer is an id that comes to a nearly full book, the last it had
// having gone, in either order and with places held.
func BenchmarkNewcomer(b *testing.B) {
	const limit = 50
	for _, c := range []struct {
		name   string
		config roster.Config
	}{
		{"least", roster.Config{}},
		{"fullest", roster.Config{FullestFirst: true}},
		{"hold", roster.Config{Hold: true, Linger: 1000}},
	} {
		for _, replicas := range []int{20, 20_000} {
			b.Run(fmt.Sprintf("%s/replicas=%d", c.name, replicas), func(b *testing.B) {
				c.config.Limit, c.config.Reserve, c.config.Retire = limit, time.Hour, time.Hour
				book := roster.New[int, *int](c.config)
				for i := range replicas {
					_, err := book.Add(fmt.Sprint("replica-", i), i, 0)
					require.NoError(b, err)
				}
				now := roster.Time(0)
				rnd := rand.New(rand.NewPCG(1, 2))
				names := arrivals(rnd, replicas*limit)
				places := make([]*roster.Place[int, *int], replicas*limit*9/10)
				enter := func(i int, rid string) {
					p, err := book.Reserve(rid, now)
					if err != nil || !book.Claim(p, now) {
						b.Fatal("no place", err)
					}
					places[i] = p
				}
				for i := range places {
					enter(i, names[i])
				}
				next := len(places)
				b.ReportAllocs()
				for b.Loop() {
					now += 20 // so that some 50 places are held
					i := rnd.IntN(len(places))
					book.Release(places[i], now)
					enter(i, names[next%len(names)])
					next++
				}
			})
		}
	}
}
