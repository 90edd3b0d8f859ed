package replog

import (
	"bytes"
	"context"
	"errors"
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
// store.ErrTooNew if a record cannot be applied, or if the log is another than
// that of the state, which remains so.
func (s *State) Follow(ctx context.Context, log Log) error {
	err := s.follow(ctx, log, s.seq)
	if errors.Is(err, ErrPurged) { // the next record may be there
		err = s.follow(ctx, log, s.seq+1)
	}
	return err
}

// follow applies the records from a number on. If that is the last one that is
// applied, it is compared instead.
func (s *State) follow(ctx context.Context, log Log, from uint64) error {
	s.parts, s.part = nil, 0 // they are read again
	known := from > 0 && from == s.seq
	for encoded, err := range log.Read(ctx, max(from, 1)) {
		switch {
		case err != nil:
			return err
		case known:
			if MarkOf(s.seq, encoded) != (Mark{Seq: s.seq, Epoch: s.mark}) {
				return s.foreign()
			}
			known = false
		default:
			if err := s.apply(encoded); err != nil {
				return fmt.Errorf("record %d: %w", s.seq+s.part+1, err)
			}
		}
	}
	if known {
		return s.foreign()
	}
	return nil
}

func (s *State) foreign() error {
	return fmt.Errorf("%w: the log does not have record %d of the local data", store.ErrCorrupt, s.seq)
}

// apply applies the next record.
func (s *State) apply(encoded []byte) error {
	r, err := decode(encoded)
	if err != nil {
		return err
	}
	next := s.position
	next.seq, next.mark = s.seq+s.part+1, r.epoch
	switch {
	case r.kind == kindClaim && r.epoch > s.epoch:
		next.epoch, next.group = r.epoch, 0
		if _, err := s.store(next, nil); err != nil {
			return err
		}
		s.claim = bytes.Clone(r.payload)
		return nil
	case r.epoch < s.epoch && s.part > 0: // the group goes on after it
		s.part++
		return nil
	case r.epoch < s.epoch: // of an owner before the last claim
		_, err := s.store(next, nil)
		return err
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
	_, err = s.store(next, payload)
	return err
}

// store stores changes and the position behind them, and returns the number of
// the commit in the local engine.
func (s *State) store(next position, payload []byte) (number uint64, err error) {
	b := s.local.engine.Begin()
	if err := s.local.changes(b, payload); err != nil {
		b.Discard()
		return 0, err
	}
	s.local.setPosition(b, next)
	if number, err = b.Commit(); err != nil {
		return 0, err
	}
	s.position, s.parts, s.part = next, nil, 0
	return number, nil
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
	seq, answers := end+1, make(chan error, 1)
	log.Append(MarkOf(end, last), r.encode(), func(err error) { answers <- err })
	var answer error
	timer := time.NewTimer(answerAfter)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-timer.C:
	case answer = <-answers: // whatever it is: the log knows better
	}
	if err := s.Follow(ctx, log); err != nil {
		return nil, err
	}
	if s.seq != seq || !bytes.Equal(s.claim, id) {
		if s.seq == end && answer != nil && !errors.Is(answer, ErrConflict) {
			return nil, answer // such as that of a full log
		}
		return nil, fmt.Errorf("%w: the claim is not its last one", ErrConflict)
	}
	return newEngine(s, log, options), nil
}
