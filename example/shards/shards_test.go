package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Spoil stores what is no number.
func (t *Tally) Spoil(context.Context) error {
	return t.Storage().PutMany(map[string][]byte{"total": []byte("?"), "page/a": []byte("?")})
}

// Block keeps the turn.
func (t *Tally) Block(_ context.Context, d time.Duration) error {
	time.Sleep(d)
	return nil
}

// open serves the counts of a disk.
func open(t *testing.T, disk dog.Store) *dogtest.Server {
	t.Helper()
	handler, err := newServer(dogtest.New(t, dog.Options{Store: disk}))
	require.NoError(t, err)
	return dogtest.Serve(t, handler)
}

// hit counts a view, and returns the status of the answer.
func hit(t *testing.T, srv *dogtest.Server, page string) int {
	t.Helper()
	answer, err := srv.Client().Post(dogtest.URL+"/hit/"+page, "", nil)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	return answer.StatusCode
}

func get(t *testing.T, srv *dogtest.Server, path string) report {
	t.Helper()
	status, body := srv.Get(path)
	require.Equal(t, http.StatusOK, status, body)
	var answer report
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	require.Equal(t, shardCount, answer.Shards)
	return answer
}

func TestViewsAreCountedOverAllShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		srv := open(t, disk)
		require.Equal(t, report{Shards: shardCount}, get(t, srv, "/total"))
		require.Equal(t, report{Shards: shardCount}, get(t, srv, "/top"))
		total := 0
		var want []Views
		for i := range 15 {
			page := fmt.Sprintf("blog/%02d", i)
			want = append(want, Views{page, i/2 + 1}) // every two have as many
			for range i/2 + 1 {
				require.Equal(t, http.StatusOK, hit(t, srv, page))
				total++
			}
		}
		require.Equal(t, total, get(t, srv, "/total").Total)
		slices.SortStableFunc(want, func(a, b Views) int { return b.Count - a.Count })
		require.Equal(t, want[:10], get(t, srv, "/top").Top)
		require.Equal(t, want[:3], get(t, srv, "/top?n=3").Top)
		require.Equal(t, want, get(t, srv, "/top?n=100").Top)

		disk.Crash()
		srv = open(t, disk)
		require.Equal(t, total, get(t, srv, "/total").Total)
		require.Equal(t, want, get(t, srv, "/top?n=100").Top)
	})
}

func TestAnAnswerSaysWhichShardsAreMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		handler, err := newServer(rt)
		require.NoError(t, err)
		srv := dogtest.Serve(t, handler)
		shards := handler.shards
		for i := range 100 {
			hit(t, srv, fmt.Sprint(i))
		}
		lost := 0
		for _, i := range []int{3, 7} {
			lost += totalOf(t, shards.Shard(i))
			require.NoError(t, dog.Do0(t.Context(), shards.Shard(i), (*Tally).Spoil))
		}
		answer := get(t, srv, "/total")
		require.Equal(t, []int{3, 7}, answer.Missing)
		require.Equal(t, 100-lost, answer.Total)
		require.Equal(t, []int{3, 7}, get(t, srv, "/top").Missing)
		_, body := srv.Get("/total")
		require.NotContains(t, body, "decode", "why is for the log")

		// One that does not answer is waited for, but not for ever.
		slow := make(chan error)
		go func() { slow <- dog.Do(t.Context(), shards.Shard(5), (*Tally).Block, patience+time.Second) }()
		synctest.Wait()
		began := time.Now()
		require.Equal(t, []int{3, 5, 7}, get(t, srv, "/total").Missing)
		require.Equal(t, patience, time.Since(began))
		require.NoError(t, <-slow)
	})
}

// totalOf returns the views that a shard has counted.
func totalOf(t *testing.T, shard dog.Stub[Tally]) int {
	t.Helper()
	total, err := dog.Call0(context.Background(), shard, (*Tally).Total)
	require.NoError(t, err)
	return total
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := open(t, nil)
		require.Equal(t, http.StatusBadRequest, hit(t, srv, ""))
		require.Equal(t, http.StatusBadRequest, hit(t, srv, strings.Repeat("p", maxPage+1)))
		require.Equal(t, http.StatusOK, hit(t, srv, strings.Repeat("p", maxPage)))
		for _, n := range []string{"", "0", "-1", "101", "ten"} {
			status, _ := srv.Get("/top?n=" + n)
			require.Equal(t, http.StatusBadRequest, status, n)
		}
	})
}
