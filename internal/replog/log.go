// Package replog implements store.Engine by a log that several nodes can read,
// and a local engine that has what the log says.
//
// One node owns a log: its [Engine] appends changes, and a commit is durable
// when the log has it. Other nodes follow: their [State] applies the same
// changes to engines of their own, so each of them can become the owner with
// one more record, a claim. Each append names the record that it follows, and
// the log refuses it if that is not the last one. So a claim that was accepted
// proves that its node has applied all before it, and ends the appends of the
// owner before it: no clock and no lock decides that.
//
// The local engine never has a change that the log does not have. An owner that
// has lost the log forgets what was pending and goes on as a follower.
//
// It does not know objects, nodes or where a log is stored. Of the local engine
// it uses the interface only.
package replog

import (
	"context"
	"errors"
	"iter"
)

// Errors of logs.
var (
	// ErrConflict means that the log has refused a record because its last one
	// is another than the one that the record follows.
	ErrConflict = errors.New("the log has another record")
	// ErrPurged means that records were asked for that the log has no more.
	ErrPurged = errors.New("the log has no records that are so old")
)

// A Mark identifies a record of a log: no other has the same. The number alone
// does not: an append of an earlier owner that was delayed on its way may have
// the number that is the next one now.
type Mark struct {
	Seq   uint64 // its number; 0 is before the first record
	Epoch uint64
}

// MarkOf returns the mark of a record with a number.
func MarkOf(seq uint64, record []byte) Mark {
	r, _ := decode(record) // who reads it finds the error
	return Mark{Seq: seq, Epoch: r.epoch}
}

// A Log is a sequence of records, numbered from 1 without gaps. Its records do
// not change. It is safe for concurrent use.
type Log interface {
	// Append adds a record, if the last one of the log is the one that it
	// follows. It returns without waiting for that, and the log calls done at
	// most once, at any time and from any goroutine: with nil when the record
	// is durable, with ErrConflict, with store.ErrFull if the log takes no more
	// for now, or with another error if it is unknown whether the log has it.
	// A call that never comes means the same. done must not block. Appends of
	// one caller reach the log in their order, or not at all. The record must
	// not be changed any more.
	Append(follows Mark, record []byte, done func(error))

	// Last returns the last record and its number. An empty log returns 0.
	Last(ctx context.Context) (seq uint64, record []byte, err error)

	// Read returns an iterator over the records from a number on, up to the
	// last one when it gets there. The error is ErrPurged if the log does not
	// have that number any more.
	Read(ctx context.Context, from uint64) iter.Seq2[[]byte, error]

	// Purge removes the records up to a number, but not the last of all.
	Purge(ctx context.Context, to uint64) error
}
