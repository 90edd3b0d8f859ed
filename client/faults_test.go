package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/client"
	"github.com/godurable/dog/client/internal/faults"
)

// A client gets through everything that the table has, which the client in
// JavaScript gets through as well.
func TestClient_SurvivesTheTableOfFaults(t *testing.T) {
	file, err := os.Open("testdata/faults.json")
	require.NoError(t, err)
	table, err := faults.Read(file)
	require.NoError(t, errors.Join(err, file.Close()))
	for _, s := range table.Scenarios {
		t.Run(s.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { play(t, table, s) })
		})
	}
}

// An app is the application of a scenario.
type app struct {
	t      *testing.T
	c      *client.Client
	states *recorder

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when something has been seen
	seen    []faults.Seen
	sent    []faults.Sent
}

// play does what a scenario has for the application.
func play(t *testing.T, table faults.Table, s faults.Scenario) {
	network := serve(t, faults.New(table, 1))
	a := &app{t: t, states: newRecorder(), changed: make(chan struct{})}
	var err error
	a.c, err = newClient(address+s.Name, client.Options{
		After: s.Client.After, HTTPClient: network, OnState: a.states.record,
	}, func() float64 { return table.Random })
	require.NoError(t, err)

	var receiving, sending sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var end error
	receiving.Go(func() { end = a.receive(ctx) })
	at := 0
	for _, step := range s.App {
		switch {
		case step.Send != "":
			a.send(ctx, step.Send, &sending)
		case step.Seen > 0:
			a.waitSeen(step.Seen)
		case step.State != "":
			at = a.states.wait(step.State, at)
		case step.Delay > 0:
			time.Sleep(time.Duration(step.Delay) * time.Millisecond)
		}
	}
	var verdict faults.Verdict
	require.NoError(t, json.Unmarshal(get(t, network, address+s.Name+"/verdict"), &verdict))
	if !verdict.OK {
		a.c.Close()
	}
	sending.Wait()
	synctest.Wait()
	states := a.states.all()
	a.c.Close()
	receiving.Wait()

	require.Empty(t, verdict.Wrong)
	require.True(t, verdict.OK)
	require.Equal(t, s.Seen, a.seen)
	require.Equal(t, s.Sent, a.sent)
	if s.States != nil {
		require.Equal(t, s.States, states)
	}
	if s.Final == nil {
		require.ErrorIs(t, end, client.ErrClosed)
		return
	}
	var refused *client.RefusedError
	require.ErrorAs(t, end, &refused)
	final := &faults.Final{Status: refused.Status, Code: refused.Code}
	if s.Final.Reason != "" {
		final.Reason = refused.Reason
	}
	require.Equal(t, s.Final, final)
}

// receive receives until the client has ended.
func (a *app) receive(ctx context.Context) error {
	for event, err := range a.c.Events(ctx) {
		if err != nil {
			return err
		}
		var seen faults.Seen
		switch e := event.(type) {
		case client.Message:
			seen.Position = e.Position
			if e.Type == client.Binary {
				seen.Binary = e.Data
			} else {
				seen.Message = string(e.Data)
			}
		case client.Gap:
			if e.Reason == client.First {
				continue
			}
			seen = faults.Seen{Gap: string(e.Reason), From: e.From, Position: e.Position}
		}
		a.mu.Lock()
		a.seen = append(a.seen, seen)
		close(a.changed)
		a.changed = make(chan struct{})
		a.mu.Unlock()
	}
	return nil
}

// waitSeen waits until n events have been seen.
func (a *app) waitSeen(n int) {
	for {
		a.mu.Lock()
		seen, changed := len(a.seen), a.changed
		a.mu.Unlock()
		if seen >= n {
			return
		}
		select {
		case <-changed:
		case <-time.After(time.Hour):
			a.t.Errorf("%d events, not %d", seen, n)
			return
		}
	}
}

// send sends a message in the background, after those before.
func (a *app) send(ctx context.Context, data string, sending *sync.WaitGroup) {
	a.mu.Lock()
	i := len(a.sent)
	a.sent = append(a.sent, faults.Sent{Data: data})
	a.mu.Unlock()
	sending.Go(func() {
		err := a.c.Send(ctx, data)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.sent[i].Error = nameOf(err)
	})
	synctest.Wait() // it is in the queue now
}

// nameOf returns what the table calls an error of Send.
func nameOf(err error) string {
	var refused *client.RefusedError
	switch {
	case err == nil:
		return ""
	case errors.Is(err, client.ErrExpired):
		return "expired"
	case errors.Is(err, client.ErrTooLarge):
		return "large"
	case errors.As(err, &refused):
		return "refused"
	}
	return err.Error()
}
