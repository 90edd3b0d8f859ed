package dog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/godurable/dog"
	"github.com/stretchr/testify/require"
)

// lines are what handlers have done, in order.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) add(format string, args ...any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, fmt.Sprintf(format, args...))
	return nil
}

func (l *lines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

// logged returns options whose logger writes into the buffer. It must be read only when all is at rest.
func logged() (dog.Options, *bytes.Buffer) {
	var log bytes.Buffer
	return dog.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, &log
}

// slowLog takes a second to log one message.
type slowLog struct {
	slog.Handler
	message string
}

func (s slowLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message == s.message {
		time.Sleep(time.Second)
	}
	return nil
}

func (s slowLog) WithAttrs([]slog.Attr) slog.Handler { return s }

func (s slowLog) Enabled(context.Context, slog.Level) bool { return true }

// logbook keeps log records as JSON.
type logbook struct {
	mu   sync.Mutex
	data bytes.Buffer // guarded by mu
}

func (l *logbook) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.data.Write(line)
}

// records returns what was logged.
func (l *logbook) records(t *testing.T) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []map[string]any
	for lines := json.NewDecoder(&l.data); lines.More(); {
		var r map[string]any
		require.NoError(t, lines.Decode(&r))
		all = append(all, r)
	}
	return all
}

// diary notes what a Trace reports.
type diary struct {
	mu     sync.Mutex
	lines  []string        // guarded by mu
	events []dog.EventInfo // guarded by mu
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// take returns what was noted since the last time, once everything has come to rest.
func (d *diary) take() []string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.lines
	d.lines = nil
	return lines
}

// done returns the events since the last time, once everything has come to rest.
func (d *diary) done() []dog.EventInfo {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	events := d.events
	d.events = nil
	return events
}

func (d *diary) trace() *dog.Trace {
	return &dog.Trace{
		ObjectStarted: func(o dog.ObjectInfo) { d.note("%s started", o.Namespace) },
		ObjectStopped: func(o dog.ObjectInfo, cause error) {
			switch {
			case cause == nil:
				d.note("%s retired", o.Namespace)
			case errors.Is(cause, dog.ErrReset):
				d.note("%s reset", o.Namespace)
			}
		},
		EventDone: func(e dog.EventInfo) {
			d.mu.Lock()
			d.events = append(d.events, e)
			d.mu.Unlock()
			d.note("%s %s", e.Object.Namespace, e.Kind)
		},
		SocketOpened: func(s *dog.Socket) { d.note("%s opened", s.UID()) },
		SocketClosed: func(s *dog.Socket, cause *dog.CloseError) {
			d.note("%s closed %d %s", s.UID(), cause.Code, cause.Reason)
		},
	}
}
