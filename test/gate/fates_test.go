package gate_test

import (
	"errors"

	"github.com/godurable/dog"
)

// A fate is the outcome of what a handler stores before it sends something.
type fate struct {
	prompt   bool // everything that is committed is durable at once
	doubt    bool // the handler only reads, while it is uncertain who owns the object
	rollback bool
	ending   func(o actor) error // how the handler ends
	then     func(s *stage)      // what happens next
	sent     bool                // whether the output is sent then
}

func succeed(actor) error { return nil }

var errNoDisk = errors.Join(dog.ErrStoreFailed, errors.New("no disk"))

// fates are those of ways that keep the turn.
var fates = map[string]fate{
	"durable later":      {ending: succeed, then: func(s *stage) { s.engine.Prompt() }, sent: true},
	"lost":               {ending: succeed, then: func(s *stage) { s.engine.Fail(errNoDisk) }},
	"undone by a panic":  {prompt: true, ending: func(actor) error { panic("undo it") }},
	"undone by an error": {prompt: true, rollback: true, ending: func(actor) error { return errUndoIt }},
	"undone by Abort":    {prompt: true, ending: func(o actor) error { o.Abort(errUndoIt); return nil }},
	"certain later":      certainLater,
	"taken over":         takenOver,
}

// A node that may have been replaced says nothing, also if it has not written.
var (
	certainLater = fate{doubt: true, ending: succeed, then: func(s *stage) { s.engine.Renew() }, sent: true}
	takenOver    = fate{doubt: true, ending: succeed, then: func(s *stage) { s.engine.Revoke(errNoDisk) }}
)

// waitingFates are those of ways that end the transaction.
var waitingFates = map[string]fate{
	"durable later": {ending: succeed, then: func(s *stage) { s.engine.Prompt() }, sent: true},
	"lost":          {ending: succeed, then: func(s *stage) { s.engine.Fail(errNoDisk) }},
	"certain later": certainLater,
	"taken over":    takenOver,
}

// begin lets the fate begin.
func (f fate) begin(s *stage) {
	if f.prompt || f.doubt {
		s.engine.Prompt()
	}
	if f.doubt {
		s.engine.Doubt()
	}
}

// write writes, unless the handler only reads.
func (f fate) write(o actor) error {
	if f.doubt {
		return nil
	}
	return o.Storage().Put("key", nil)
}
