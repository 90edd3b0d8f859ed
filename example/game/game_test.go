package main

import (
	"context"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// update is a message to a client.
type update struct {
	Op      string
	Seat    int
	Field   []byte
	Ticks   int
	Players []player
}

// newGame serves the game.
func newGame(t *testing.T) (*dog.Runtime, *dogtest.Server) {
	t.Helper()
	rt := dogtest.New(t, dog.Options{})
	handler, err := newServer(rt)
	require.NoError(t, err)
	return rt, dogtest.Serve(t, handler)
}

// play connects a player and returns the seat.
func play(srv *dogtest.Server, uid string) (c *dogtest.Client, seat int) {
	c = srv.Dial("/play?player=" + uid)
	var welcome update
	for welcome.Op != "welcome" {
		c.ReceiveJSON(&welcome)
	}
	return c, welcome.Seat
}

// latest returns the last message to a client, once all goroutines are blocked.
func latest(t *testing.T, c *dogtest.Client) (state update) {
	t.Helper()
	synctest.Wait()
	all := c.Received()
	require.NotEmpty(t, all)
	require.NoError(t, all[len(all)-1].Decode(&state))
	return state
}

// arenas returns how many players each arena has places for now, held ones
// included.
func arenas(rt *dog.Runtime) (loads []int) {
	for _, group := range rt.Stats().Groups {
		for _, arena := range group.Replicas {
			loads = append(loads, arena.Load)
		}
	}
	return loads
}

func TestArena_IsFullWithFourPlayers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, srv := newGame(t)
		for i, uid := range []string{"a", "b", "c", "d", "e"} {
			_, seat := play(srv, uid)
			require.Equal(t, i%seats, seat)
		}
		require.Equal(t, []int{4, 1}, arenas(rt))
	})
}

func TestArena_MovesTwentyTimesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, srv := newGame(t)
		ada, _ := play(srv, "ada")
		time.Sleep(10 * time.Second)
		require.Negative(t, latest(t, ada).Ticks, "one player is no match")
		bob, _ := play(srv, "bob")
		time.Sleep(pause*tick + tick/2)
		state := latest(t, bob)
		require.Zero(t, state.Ticks, "the match begins")
		from := state.Players[0].X
		ada.Send("right")
		ada.Send("nonsense")
		time.Sleep(10 * tick)
		require.Equal(t, pause+10, len(ada.Received()), "states")
		state = latest(t, bob)
		require.Equal(t, 10, state.Ticks)
		require.Equal(t, from+10, state.Players[0].X)
		require.Equal(t, 11, state.Players[0].Points)
		time.Sleep(time.Minute / 2)
		require.Equal(t, side-1, latest(t, bob).Players[0].X, "the field has an end")
		code, reason := bob.Closed()
		require.Equal(t, 4002, code)
		require.Equal(t, "the match is over", reason)
	})
}

func TestPlayer_KeepsTheSeatWhenReconnectingInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, srv := newGame(t)
		ada, _ := play(srv, "ada")
		bob, seat := play(srv, "bob")
		time.Sleep(5 * time.Second)
		require.Positive(t, latest(t, ada).Ticks)

		bob.Vanish()
		time.Sleep(grace - time.Second)
		require.True(t, latest(t, ada).Players[1].Gone)
		_, other := play(srv, "newcomer")
		require.Equal(t, []int{2, 1}, arenas(rt), "a match that has begun is locked for others")
		require.Zero(t, other)
		bob, again := play(srv, "bob")
		require.Equal(t, seat, again)
		time.Sleep(tick)
		require.False(t, latest(t, ada).Players[1].Gone)

		bob.Vanish()
		time.Sleep(grace + time.Second)
		require.Len(t, latest(t, ada).Players, 1, "the seat is free")
		play(srv, "bob")
		require.Equal(t, []int{1, 2}, arenas(rt), "the player is a newcomer now")
	})
}

func TestPlayer_PlaysInOneWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, srv := newGame(t)
		ada, _ := play(srv, "ada")
		second := srv.Dial("/play?player=ada")
		code, _ := second.Closed()
		require.Equal(t, 4000, code)
		time.Sleep(time.Minute)
		require.False(t, latest(t, ada).Players[0].Gone)
		require.Equal(t, []int{1}, arenas(rt))
	})
}

func TestArena_StopsWhileEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, srv := newGame(t)
		ada, _ := play(srv, "ada")
		ada.Close(1000, "")
		time.Sleep(time.Hour)
		for range rt.Objects() {
			require.Fail(t, "the arena has gone, and its group")
		}
		status, body := srv.Get("/")
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, body, "canvas")
		status, _ = srv.Get("/play")
		require.Equal(t, http.StatusBadRequest, status, "a player needs a name")
	})
}

func TestProgram_Runs(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	require.ErrorContains(t, run(t.Context(), listener.Addr().String()), "address already in use")
	ctx, stop := context.WithCancel(t.Context())
	stop()
	require.NoError(t, run(ctx, "127.0.0.1:0"))
}
