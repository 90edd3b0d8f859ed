package replog

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/godurable/dog/internal/store"
)

// A State is what a node has of a log. Its methods are called by one goroutine
// at a time. While an [Engine] owns the log, the state belongs to the engine.
type State struct {
	local local // fixed

	position
	claim []byte // the payload of the last claim that was read; nil: not since Open
	parts []byte // of a group whose last record is still to come
	part  uint64 // records in parts
}

// Open returns the state that a local engine has under a prefix. No prefix of
// one log may begin that of another.
func Open(engine store.Engine, prefix []byte) (*State, error) {
	s := &State{local: newLocal(engine, prefix)}
	var err error
	s.position, err = s.local.position()
	return s, err
}

// Follow applies the records that the log has and the state has not. After an
// error it can be called again. The error wraps store.ErrCorrupt or
// store.ErrTooNew if a record cannot be applied, which remains so.
func (s *State) Follow(ctx context.Context, log Log) error {
	s.parts, s.part = nil, 0 // they are read again
	for encoded, err := range log.Read(ctx, s.seq+1) {
		if err != nil {
			return err
		}
		if err := s.apply(encoded); err != nil {
			return fmt.Errorf("record %d: %w", s.seq+s.part+1, err)
		}
	}
	return nil
}

// apply applies the next record.
func (s *State) apply(encoded []byte) error {
	r, err := decode(encoded)
	if err != nil {
		return err
	}
	next := s.position
	next.seq = s.seq + s.part + 1
	switch {
	case r.kind == kindClaim && r.epoch > s.epoch:
		next.epoch, next.group = r.epoch, 0
		if err := s.store(next, nil); err != nil {
			return err
		}
		s.claim = bytes.Clone(r.payload)
		return nil
	case r.epoch < s.epoch: // of a claim that lost, or of an owner before the last claim
		return s.store(next, nil)
	case r.kind == kindClaim, r.epoch > s.epoch, r.group != s.group+1:
		return fmt.Errorf(
			"%w: epoch %d, group %d after epoch %d, group %d", store.ErrCorrupt, r.epoch, r.group, s.epoch, s.group,
		)
	case r.more:
		s.parts, s.part = append(s.parts, r.payload...), s.part+1
		return nil
	}
	payload := r.payload
	if s.part > 0 {
		payload = append(s.parts, payload...)
	}
	next.group++
	return s.store(next, payload)
}

// store stores changes and the position behind them.
func (s *State) store(next position, payload []byte) error {
	b := s.local.engine.Begin()
	if err := s.local.changes(b, payload); err != nil {
		b.Discard()
		return err
	}
	s.local.setPosition(b, next)
	if _, err := b.Commit(); err != nil {
		return err
	}
	s.position, s.parts, s.part = next, nil, 0
	return nil
}

// Claim makes the node the owner of the log. The state must have been brought
// up to date by Follow. id distinguishes this call from all others, also those
// of other nodes and of other times. The error is ErrConflict if the log has
// other records than the state, be it the changes of an owner or a claim: who
// still wants to own it calls Follow and Claim again. After another error it is
// unknown whether the claim is in the log, until Follow has read it.
func (s *State) Claim(ctx context.Context, log Log, id []byte, options Options) (*Engine, error) {
	end, last, err := log.Last(ctx)
	if err != nil {
		return nil, err
	}
	if end != s.seq+s.part { // a group without its end is void
		return nil, fmt.Errorf("%w: it ends with %d, not with %d", ErrConflict, end, s.seq+s.part)
	}
	r := record{kind: kindClaim, epoch: s.epoch + 1, payload: id}
	seq, answered := end+1, make(chan struct{}, 1)
	log.Append(MarkOf(end, last), r.encode(), func(error) { answered <- struct{}{} })
	timer := time.NewTimer(answerAfter)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-timer.C:
	case <-answered: // whatever the answer is: the log knows better
	}
	if err := s.Follow(ctx, log); err != nil {
		return nil, err
	}
	if s.seq != seq || !bytes.Equal(s.claim, id) {
		return nil, fmt.Errorf("%w: the claim is not its last one", ErrConflict)
	}
	return newEngine(s, log, options), nil
}
