package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A CommandID identifies a command. Numbers grow within an epoch. Another epoch
// begins when the server may give numbers again, for example after it has been
// restored from a backup.
type CommandID struct {
	Epoch  string `json:"epoch"`
	Number uint64 `json:"number"`
}

// A Command is a command from the server for this client.
type Command struct {
	ID      CommandID
	Data    []byte
	Type    MessageType
	Expires time.Time // after this the command must not be started
}

// Decode decodes the data as JSON into the value that v points to.
func (c Command) Decode(v any) error { return json.Unmarshal(c.Data, v) }

// Retry returns an error for OnCommand to return when it cannot carry out the
// command now. The server sends the command again later, and other commands
// wait.
func Retry(cause error) error { return &retryError{cause} }

type retryError struct{ cause error }

func (e *retryError) Error() string { return fmt.Sprintf("client: not now: %v", e.cause) }

func (e *retryError) Unwrap() error { return e.cause }

// moreEvery is how often the client reports that a command is in progress.
const moreEvery = 10 * time.Second

// parseCommand parses the header of a command, whose time begins now. before is
// the number of the waiting command before it, 0 if there is none.
func parseCommand(header string, now time.Time) (c Command, before uint64, err error) {
	words := strings.Split(header, " ")
	if len(words) < 4 || words[1] == "" {
		return Command{}, 0, malformed("the command %.64q", header)
	}
	left, err := strconv.ParseInt(words[2], 10, 64)
	if err == nil {
		c.ID.Number, err = parseNumber(words[0])
	}
	if err == nil {
		before, err = parseNumber(words[3])
	}
	if err != nil || c.ID.Number == 0 {
		return Command{}, 0, malformed("the command %.64q", header)
	}
	c.ID.Epoch = words[1]
	c.Expires = now.Add(windowOf(float64(left), float64(left), time.Millisecond).from)
	return c, before, nil
}

// A response is a response of the client to a command.
type response struct {
	id      CommandID
	verdict string
	kind    MessageType
	data    []byte
}

// frame returns the response as a frame.
func (r response) frame() []byte {
	return append(fmt.Appendf(nil, "r%d %s %s\n", r.id.Number, r.id.Epoch, r.verdict), r.data...)
}

// respond returns the response to a command that has been handled.
func respond(id CommandID, reply any, err error) response {
	if err == nil {
		var o *outgoing
		if reply == nil {
			return response{id: id, verdict: "done", kind: Text}
		}
		if o, err = encode(reply); err == nil {
			return response{id: id, verdict: "done", kind: o.kind, data: o.data}
		}
	}
	r := response{id: id, verdict: "fail", kind: Text, data: []byte(strings.ToValidUTF8(err.Error(), "\uFFFD"))}
	if retry, ok := errors.AsType[*retryError](err); ok {
		r.verdict, r.data = "retry", []byte(strings.ToValidUTF8(retry.cause.Error(), "\uFFFD"))
	}
	return r
}

// commands holds the commands that wait to be carried out, and the responses to
// earlier ones.
type commands struct {
	handle func(context.Context, Command) (any, error) // nil: the client takes none. fixed
	most   int                                         // maximum of waiting commands and remembered responses. fixed
	added  chan struct{}                               // has a token when there may be something to write
	come   chan struct{}                               // has a token when there may be something to do

	mu      sync.Mutex
	last    CommandID  // the last that was handled for good. guarded by mu, like all below
	said    []response // to the latest of these, in order
	queue   []waiting  // in the order of their numbers, all of the epoch of last
	running CommandID  // zero: none
	out     []response // to be written
	more    bool       // the client has to report that a command is in progress
	ready   bool       // the client has to declare that it takes commands
}

// A waiting command has arrived and was not started.
type waiting struct {
	Command
	before uint64 // the number of the waiting command before it, 0 if there is none
}

func (c *commands) init(o Options) {
	c.handle, c.most = o.OnCommand, o.QueueMessages
	c.added, c.come = make(chan struct{}, 1), make(chan struct{}, 1)
	if c.last = o.LastCommand; c.last.Number > 0 {
		c.said = append(c.said, respond(c.last, o.LastReply, nil))
	}
}

// arrived queues a command. before is the number of the waiting command before
// it, 0 if there is none.
func (c *commands) arrived(command Command, before uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := command.ID
	if id.Epoch != c.last.Epoch {
		c.last, c.said, c.queue = CommandID{Epoch: id.Epoch}, nil, nil
	}
	switch {
	case id.Number <= c.last.Number:
		c.again(id)
		return
	case id == c.running:
		c.more = true
		signal(c.added)
		return
	case before == 0: // the server has dropped those before it
		c.queue = slices.DeleteFunc(c.queue, func(w waiting) bool { return w.ID.Number < id.Number })
	}
	if n := len(c.queue); n > 0 && c.queue[n-1].ID.Number >= id.Number {
		return // it has arrived before
	}
	if len(c.queue) < c.most && (before <= c.last.Number || c.has(before)) { // otherwise it will arrive again
		c.queue = append(c.queue, waiting{command, before})
		signal(c.come)
	}
}

// has reports whether a command is in progress or waits. c.mu is held.
func (c *commands) has(number uint64) bool {
	return c.running.Epoch == c.last.Epoch && c.running.Number == number ||
		slices.ContainsFunc(c.queue, func(w waiting) bool { return w.ID.Number == number })
}

// again repeats the response to a command. c.mu is held.
func (c *commands) again(id CommandID) {
	r := response{id: id, verdict: "done", kind: Text}
	if i := slices.IndexFunc(c.said, func(r response) bool { return r.id == id }); i >= 0 {
		r = c.said[i]
	}
	c.say(r)
}

// say arranges for a response to be written. c.mu is held.
func (c *commands) say(r response) {
	if len(c.out) < c.most { // otherwise the server asks again
		c.out = append(c.out, r)
		signal(c.added)
	}
}

// work carries out commands until ctx is done.
func (c *commands) work(ctx context.Context) {
	for {
		command, found := c.begin()
		if !found {
			select {
			case <-c.come:
				continue
			case <-ctx.Done():
				return
			}
		}
		reply, err := c.run(ctx, command)
		if ctx.Err() != nil {
			return
		}
		c.end(respond(command.ID, reply, err))
	}
}

// begin returns the next command. It skips an expired one and asks for it
// again, in case it has not expired by the clock of the server. A command whose
// predecessor was not handled will arrive again.
func (c *commands) begin() (Command, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) > 0 {
		w := c.queue[0]
		c.queue = slices.Delete(c.queue, 0, 1)
		switch {
		case w.before > c.last.Number:
		case time.Now().Before(w.Expires):
			c.running = w.ID
			return w.Command, true
		default:
			c.say(response{id: w.ID, verdict: "retry", kind: Text, data: []byte("it has expired")})
		}
	}
	return Command{}, false
}

// run carries out a command, and reports to the server while it is in progress.
func (c *commands) run(ctx context.Context, command Command) (reply any, err error) {
	ctx, cancel := context.WithDeadline(ctx, command.Expires)
	defer cancel()
	working := time.NewTicker(moreEvery)
	defer working.Stop()
	var others sync.WaitGroup
	defer others.Wait()
	ended := make(chan struct{})
	defer close(ended)
	others.Go(func() {
		for {
			select {
			case <-working.C:
				c.mu.Lock()
				c.more = true
				c.mu.Unlock()
				signal(c.added)
			case <-ended:
				return
			}
		}
	})
	return c.handle(ctx, command)
}

// end records the response to a command and sends it.
func (c *commands) end(r response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running, c.more = CommandID{}, false
	if r.id.Epoch != c.last.Epoch {
		return // the server no longer has it
	}
	if r.verdict != "retry" {
		c.last = r.id
		if c.said = append(c.said, r); len(c.said) > c.most {
			c.said = slices.Delete(c.said, 0, 1)
		}
	}
	c.say(r)
}

// connected starts with a new connection.
func (c *commands) connected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready, c.more = c.handle != nil, false
}

// next returns the next frame to write, nil if there is none.
func (c *commands) next() (MessageType, []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(c.out) > 0:
		r := c.out[0]
		c.out = slices.Delete(c.out, 0, 1)
		return r.kind, r.frame()
	case c.ready:
		c.ready = false
		return Text, []byte{'y'}
	case c.more && c.running.Number > 0:
		c.more = false
		return Text, response{id: c.running, verdict: "more"}.frame()
	}
	return 0, nil
}
