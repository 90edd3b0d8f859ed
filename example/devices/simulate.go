package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/godurable/dog/client"
)

// newDevices returns a number of devices. Their names begin with their place,
// and each tenth has the tag canary. Those that are flaky come and go.
func newDevices(n int, server string, through *http.Client, flaky bool) (all []*simulated) {
	for i := range n {
		name := fmt.Sprintf("%s-%04d", []string{"north", "south", "east", "west"}[i%4], i)
		d := &simulated{name: name, url: server + "/devices/" + name, http: through, flaky: flaky}
		if i%10 == 0 {
			d.url += "?tag=canary"
		}
		all = append(all, d)
	}
	return all
}

// simulate has devices connect, and stay connected until ctx is done.
func simulate(ctx context.Context, devices []*simulated) {
	var all sync.WaitGroup
	for i, d := range devices {
		all.Go(func() {
			wait(ctx, time.Duration(i)*time.Millisecond) // not all at once
			for ctx.Err() == nil {
				if err := d.connect(ctx); err != nil {
					slog.Error("a device cannot connect", "device", d.name, "error", err)
				}
				wait(ctx, time.Duration(rand.IntN(10))*time.Second)
			}
		})
	}
	all.Wait()
}

// A simulated device remembers the last command that it has carried out, as a
// real one would store it.
type simulated struct {
	name, url string
	http      *http.Client // nil: the default
	flaky     bool

	version int
	last    client.CommandID
	reply   string
}

// connect is connected until ctx is done, or for a while.
func (d *simulated) connect(ctx context.Context) error {
	options := client.Options{OnCommand: d.carryOut, LastCommand: d.last, LastReply: d.reply, HTTPClient: d.http}
	c, err := client.New(d.url, options)
	if err != nil {
		return err
	}
	defer c.Close()
	if d.flaky {
		wait(ctx, time.Duration(10+rand.IntN(50))*time.Second)
	} else {
		<-ctx.Done()
	}
	return nil
}

// carryOut knows two commands: update, which fails now and then, and version.
func (d *simulated) carryOut(ctx context.Context, c client.Command) (any, error) {
	wait(ctx, time.Duration(rand.IntN(300))*time.Millisecond)
	switch string(c.Data) {
	case "update":
		if rand.IntN(50) == 0 {
			return nil, errors.New("the flash is worn out")
		}
		d.version++
	case "version":
	default:
		return nil, fmt.Errorf("it does not know %.20q", c.Data)
	}
	d.last, d.reply = c.ID, fmt.Sprint("version ", d.version)
	return d.reply, nil
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
