package client

import (
	"context"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWait_GrowsToHalfAMinute(t *testing.T) {
	for failures, longest := range map[int]time.Duration{
		0: 500 * time.Millisecond, 1: time.Second, 5: 16 * time.Second,
		6: 30 * time.Second, math.MaxInt: 30 * time.Second,
	} {
		require.Equal(t, &window{to: longest}, backOff(failures))
	}
	w := window{from: 2 * time.Second, to: 4 * time.Second}
	require.Equal(t, 2*time.Second, w.pick(0))
	require.Equal(t, 3*time.Second, w.pick(0.5))
}

func TestWait_BoundsWhatAServerAsksFor(t *testing.T) {
	for _, try := range []struct{ from, to, first, last float64 }{
		{0, 8000, 0, 8},
		{5000, 1000, 5, 5},
		{-1, -5, 0, 0},
		{1e300, math.Inf(1), 86400, 86400},
	} {
		w := windowOf(try.from, try.to, time.Millisecond)
		require.Equal(t, []float64{try.first, try.last}, []float64{w.from.Seconds(), w.to.Seconds()})
	}
}

func TestWait_ReadsRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, seconds := range map[string]float64{
		"0": 0, "120": 120, "4000000000": 86400,
		"Fri, 02 Jan 2026 03:04:35 GMT": 30, "Fri, 02 Jan 2026 03:04:00 GMT": 0,
	} {
		w := retryAfter(http.Header{"Retry-After": {text}}, now)
		require.NotNil(t, w, text)
		require.Equal(t, []float64{seconds, seconds}, []float64{w.from.Seconds(), w.to.Seconds()}, text)
	}
	for _, text := range []string{"", "-1", "soon", "1.5"} {
		require.Nil(t, retryAfter(http.Header{"Retry-After": {text}}, now), text)
	}
}

// Whatever a server sends, a position is replaced by one that can be sent back.
func FuzzFrames(f *testing.F) {
	for _, s := range []string{
		"h{\"v\":1,\"pos\":\"k3f9q2ab7c1d-c118\",\"gap\":\"\",\"in\":57,\"ping\":25000,\"max\":65536}",
		"c7 k3f7q2ab7c2d 1500 6\nopen", "c7", "c7 e x 0",
		"mc119\npayload", "m\n", "m", "a58", "b{\"in\":[0,8000]}", "q", "", "\n", "z99\nfuture",
		"g{\"from\":\"k3f9q2ab7c1d-c100\",\"to\":\"k3f9q2ab7c1d-c140\",\"why\":\"slow\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if h, err := parseHello(data); err == nil && h.Position != "" {
			require.True(t, validPosition(h.Position))
		}
		c := &Client{resume: new("k3f9q2ab7c1d-c118")}
		c.inbox.init(Options{QueueMessages: 1000, QueueBytes: 1 << 20})
		c.outbox.init(Options{QueueMessages: 1, QueueBytes: 1})
		c.commands.init(Options{
			QueueMessages: 1, OnCommand: func(context.Context, Command) (any, error) { return nil, nil },
		})
		l := &link{c: c}
		if l.handle(Text, data) != nil {
			return
		}
		require.True(t, validPosition(*c.resume))
		if w := l.window; w != nil {
			require.LessOrEqual(t, w.pick(0.999), longestWindow)
		}
		if a, found, _ := c.inbox.pop(); found {
			require.Equal(t, *c.resume, a.position)
			if m, is := a.event.(Message); is {
				require.True(t, strings.HasSuffix(string(data), string(m.Data)))
			}
		}
	})
}

func TestState_HasAName(t *testing.T) {
	require.Equal(t, "connecting open waiting closed State(0)", strings.Join([]string{
		Connecting.String(), Open.String(), Waiting.String(), Closed.String(), State(0).String(),
	}, " "))
}

func TestParseCommand_RefusesWhatIsMalformed(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c, before, err := parseCommand("7 k3f7q2ab7c2d 1500 6 later", now)
	require.NoError(t, err)
	require.Equal(t, Command{
		ID: CommandID{Epoch: "k3f7q2ab7c2d", Number: 7}, Expires: now.Add(1500 * time.Millisecond),
	}, c)
	require.EqualValues(t, 6, before)
	for _, header := range []string{
		"", "7", "7 e", "7 e 1", "7  1 0", "0 e 1 0", "-7 e 1 0", "7 e soon 0", "7 e 1 x", "9007199254740992 e 1 0",
	} {
		_, _, err := parseCommand(header, now)
		require.ErrorIs(t, err, errProtocol, "%q", header)
	}
}
