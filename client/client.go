package client

import (
	"context"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"github.com/godurable/dog/client/internal/hook"
)

// A Client is a permanent connection to an object or a group. Its methods may
// be called from any goroutine.
type Client struct {
	options Options        // with defaults. fixed
	url     *url.URL       // fixed
	random  func() float64 // in [0, 1), for waits. fixed

	closing context.Context    // done from Close on. fixed
	cancel  context.CancelFunc // ends closing. fixed
	done    chan struct{}      // closed when run has returned. fixed

	resume *string // the position of the last event that was put into inbox. owned by run

	inbox    inbox
	outbox   outbox
	commands commands
}

// New returns a client of the server at a URL, whose scheme is ws, wss, http or
// https. It connects at once, in the background. New returns an [ErrInvalid]
// for invalid arguments.
func New(address string, options Options) (*Client, error) {
	return newClient(address, options, rand.Float64)
}

func init() {
	hook.NewClient = func(address string, options any, random func() float64) (any, error) {
		return newClient(address, options.(Options), random)
	}
}

// newClient returns a client that takes its random numbers from a function.
func newClient(address string, options Options, random func() float64) (*Client, error) {
	u, err := parseURL(address)
	if err != nil {
		return nil, err
	}
	if options, err = options.withDefaults(); err != nil {
		return nil, err
	}
	c := &Client{options: options, url: u, random: random, done: make(chan struct{}), resume: options.After}
	c.closing, c.cancel = context.WithCancel(context.Background())
	c.inbox.init(options)
	c.outbox.init(options)
	c.commands.init(options)
	go c.run() // Close waits for it
	return c, nil
}

// Close ends the connection and waits until everything that the client has
// started has ended. Waiting messages are no longer sent.
func (c *Client) Close() {
	c.cancel()
	<-c.done
}

// run keeps the client connected until Close or until the server refuses it.
func (c *Client) run() {
	defer close(c.done)
	var worker sync.WaitGroup
	defer worker.Wait()
	defer c.cancel()
	if c.commands.handle != nil {
		worker.Go(func() { c.commands.work(c.closing) })
	}
	failures := 0
	for {
		c.state(Connecting, nil)
		end := c.connect()
		if c.closing.Err() != nil {
			c.finish(ErrClosed)
			return
		}
		if end.final {
			c.finish(end.err)
			return
		}
		if end.open >= forgetFailures {
			failures = 0
		}
		wait := end.window
		if wait == nil {
			wait = backOff(failures)
		}
		if !end.announced {
			failures++
		}
		c.state(Waiting, end.err)
		timer := time.NewTimer(wait.pick(c.random()))
		select {
		case <-timer.C:
		case <-c.closing.Done():
			timer.Stop()
			c.finish(ErrClosed)
			return
		}
	}
}

// finish makes every later use of the client return err.
func (c *Client) finish(err error) {
	c.inbox.close(err)
	c.outbox.close(err)
	c.state(Closed, err)
}

func (c *Client) state(s State, err error) {
	if c.options.OnState != nil {
		c.options.OnState(s, err)
	}
}
