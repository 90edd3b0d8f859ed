package dog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/godurable/dog/internal/answer"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/turn"
)

// A Reply is the reply of one replica to a gossip.
type Reply struct {
	Replica ID
	Name    string          // of the replica, "" if it has none
	Data    json.RawMessage // result of OnGossip; nil when Err is set
	// Err is the reason why there is no reply: the error of OnGossip, a
	// [UsageError] when the replica has no OnGossip, [ErrReset], [ErrDeadlock],
	// [ErrReplicaGone], or [context.DeadlineExceeded] when the reply did not
	// arrive in time.
	Err error
}

// Decode decodes the reply into the value that v points to, like
// [Message.Decode]. It returns Err if there is no reply.
func (r Reply) Decode(v any) error {
	if r.Err != nil {
		return r.Err
	}
	if err := json.Unmarshal(r.Data, v); err != nil {
		return fmt.Errorf("dog: decode reply of %s: %w", r.Replica, err)
	}
	return nil
}

// Gossip asks the other replicas of the group at the same time. Clients do not
// see it. OnGossip of each replica gets v as JSON, and its result is returned
// as JSON, in the order in which the replicas were created. The JSON is that of
// encoding/json, as for messages: see [Encode] and [Message.Decode]. If one
// replica fails, its Reply has an Err and the other replies are not affected. A
// replica that does not reply within Options.GossipTimeout, or by ctx's
// deadline if that is earlier, gets a Reply whose Err is
// [context.DeadlineExceeded]. A replica alone in its group gets no replies and
// no error.
//
// Gossip fails as a whole if v has no JSON form, with the cause of ctx's end if
// ctx is cancelled, with [ErrShutdown], and with the errors of [Await]. In a
// handler Gossip gives up the turn, so two replicas may gossip with each other
// at the same moment. It needs the handler's context, as [Replica.Whisper]
// does.
func (r *Replica) Gossip(ctx context.Context, v any) ([]Reply, error) {
	o, err := r.running()
	if err != nil {
		return nil, err
	}
	return o.replica.group.gossip(ctx, o, o.replica, v)
}

// gossip asks all replicas of the group except asker, which may be nil.
func (g *groupState) gossip(ctx context.Context, source voice, asker *replicaState, v any) ([]Reply, error) {
	data, err := encodeJSON(v)
	if err != nil {
		return nil, fmt.Errorf("dog: encode gossip: %w", err)
	}
	rt := g.runtime()
	leave, err := rt.host.EnterFrom(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	var replies []Reply
	err = source.await(ctx, func() error {
		replies, err = g.ask(ctx, asker, data)
		return err
	})
	return replies, err
}

// ask collects the replies. A peer's handler may run longer than ask. Its
// context is then done, and the runtime waits for it.
func (g *groupState) ask(ctx context.Context, asker *replicaState, data []byte) ([]Reply, error) {
	rt := g.runtime()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	limited, cancel := context.WithTimeoutCause(ctx, rt.opts.GossipTimeout, context.DeadlineExceeded)
	defer cancel()
	deadline, _ := limited.Deadline()
	if e := turn.From(ctx); e != nil { // the asking goroutine may have outlived its handler
		defer e.OnEnd(func() { end(answer.ErrCallerEnded) })()
	}
	from := turn.OriginOf(ctx)
	defer from.Call.Over()
	from.Limit = rt.opts.MaxWaiting

	c := &collection{done: make(chan struct{})}
	var peers []*replicaState
	for _, r := range g.replicaStates() {
		if r != asker {
			peers = append(peers, r)
			c.replies = append(c.replies, Reply{Replica: r.obj.id(), Name: r.obj.Name, Err: context.DeadlineExceeded})
		}
	}
	if len(peers) == 0 {
		return nil, nil
	}
	c.missing = len(peers)
	for i, r := range peers {
		rt.host.Work.Spawn(func() {
			var reply []byte
			err := fmt.Errorf("%w: OnGossip ended its goroutine", ErrReset) // stays if it does not return
			defer func() { c.put(i, reply, err) }()
			reply, err = r.reply(limited, from, data)
			// If the handler returns because of the deadline, it is too late as
			// well: its context may have ended before limited.
			if limited.Err() != nil || !time.Now().Before(deadline) {
				reply, err = nil, context.DeadlineExceeded
			}
		})
	}
	select {
	case <-c.done:
	case <-limited.Done():
		if limited.Err() != context.DeadlineExceeded {
			return nil, context.Cause(limited)
		}
	}
	return c.take(), nil
}

// reply runs OnGossip as an event of a replica. ctx has a deadline.
func (r *replicaState) reply(ctx context.Context, from turn.Origin, question []byte) (reply []byte, err error) {
	if !r.obj.ns.gossips {
		return nil, misuse("Gossip", "%s has no OnGossip", r.obj.ns.typ.Elem())
	}
	var outcome <-chan error
	err = r.obj.Deliver(ctx, &from, object.EventGossip, func(life context.Context, v any) (err error) {
		defer func() { outcome = r.obj.Gate.Outcome() }()
		bounded := turn.Within(life, ctx)
		defer bounded.Release()
		result, err := v.(GossipHandler).OnGossip(bounded, Message{Type: Text, Data: slices.Clone(question)})
		if err != nil {
			return err
		}
		// Encode in the turn: the result may be, or point to, data that the
		// object changes later.
		if reply, err = encodeJSON(result); err != nil {
			return fmt.Errorf("dog: encode reply to gossip: %w", err)
		}
		return nil
	})
	if outcome != nil {
		err = r.obj.AwaitOutcome(ctx, outcome, err)
	}
	switch {
	case errors.Is(err, object.ErrRetired): // after the peers were listed
		return nil, ErrReplicaGone
	case err != nil:
		return nil, err
	}
	return reply, nil
}

// collection gathers replies until they are taken.
type collection struct {
	done chan struct{} // closed when no reply is missing

	mu      sync.Mutex
	replies []Reply // guarded by mu
	missing int     // guarded by mu
	taken   bool    // guarded by mu
}

func (c *collection) put(i int, reply []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken {
		return
	}
	c.replies[i].Data, c.replies[i].Err = reply, err
	if c.missing--; c.missing == 0 {
		close(c.done)
	}
}

func (c *collection) take() []Reply {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken = true
	return c.replies
}
