package conn_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

// messages is a [conn.Source] in memory.
type messages struct {
	onNext func() // called before messages are read

	mu   sync.Mutex
	kept [][]byte // guarded by mu: frames with marks
}

func (m *messages) keep(text string) *conn.Frame {
	f := conn.NewFrame(conn.Text, []byte(text))
	frame := append([]byte{0x81, byte(len(text) + 4)}, "ma1\n"+text...)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept = append(m.kept, frame)
	f.Keep(uint64(len(m.kept)), frame)
	return f
}

func (m *messages) Next(_ *conn.Conn, after, until uint64, _ int) (*conn.Frame, uint64, error) {
	m.onNext()
	m.mu.Lock()
	defer m.mu.Unlock()
	until = min(until, uint64(len(m.kept)))
	if after >= until {
		return nil, max(after, until), nil
	}
	return conn.NewKept(m.kept[after], 1), after + 1, nil
}

// Messages that are not kept come in the order in which they were sent, also
// those that are sent while the history is read.
func TestReplay_KeepsTheOrderOfOtherMessages(t *testing.T) {
	c, p := pipe(t, &conn.Options{Slow: conn.CatchUp})
	read := startReading(c)
	defer read.end(t)
	defer p.Close()
	source := new(messages)
	set := conn.Set{Writers: conn.NewWriters(nil), Source: source}
	source.keep("1")
	sent := false
	source.onNext = func() {
		if sent {
			return
		}
		sent = true
		require.NoError(t, c.Send(conn.NewFrame(conn.Text, []byte("private")), ""))
		set.Send(source.keep("2"), "", conn.Except{})
	}
	c.Follow(0, 1)
	set.Add(c)
	require.NoError(t, c.Send(conn.NewFrame(conn.Text, []byte("begin")), ""))
	for _, want := range []string{"1", "begin", "private", "2"} {
		require.Equal(t, text(want), p.next())
	}
}
