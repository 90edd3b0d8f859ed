package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/godurable/dog"
)

const (
	pageLines  = 200                 // maximum number of lines in one message to a browser
	maxLines   = 100_000             // maximum number of lines in the log
	maxAge     = 30 * 24 * time.Hour // maximum age of a line
	sweepEvery = time.Hour           // time between two deletions
)

// A Line is a message in the log.
type Line struct {
	ID   int64  `json:"id"` // milliseconds since 1970, and greater than the ID of the line before
	From string `json:"from"`
	Text string `json:"text"`
	Key  string `json:"key"` // chosen by the page, which sends a message again if it may be lost
}

// history is a part of the log, oldest line first.
type history struct {
	Type   string       `json:"type"`
	Room   string       `json:"room"`             // the receiver's room
	Lines  []Line       `json:"lines"`            // null for a client that has missed none
	More   bool         `json:"more"`             // if there are older lines
	People []dog.Member `json:"people,omitempty"` // the first 1,000 who are there, with lines
}

// Log keeps the messages to all. The chat has one Log. An object handles one
// event at a time, so its lines have one order.
type Log struct{ dog.Object }

// schema has a step for each release that changed the database.
var schema = dog.Schema{
	`CREATE TABLE lines (
		id INTEGER PRIMARY KEY, "from" TEXT NOT NULL, text TEXT NOT NULL,
		key TEXT NOT NULL, UNIQUE ("from", key)
	)`,
}

// Append stores a line and returns its ID. It does not store a line twice. The
// ID leaves the object when the line is durable: dog holds it until then.
func (l *Log) Append(_ context.Context, line Line) (id int64, err error) {
	id, _, err = dog.QueryRowAs[int64](l.Storage().SQL(), `
		INSERT INTO lines (id, "from", text, key)
			SELECT max(?, coalesce(max(id) + 1, 0)), ?, ?, ? FROM lines WHERE true
			ON CONFLICT ("from", key) DO UPDATE SET key = excluded.key
			RETURNING id`, time.Now().UnixMilli(), line.From, line.Text, line.Key)
	alarm, set, err2 := l.Storage().Alarms().Get("")
	if err = errors.Join(err, err2); err != nil || set && !alarm.Failed {
		return id, err
	}
	return id, l.Storage().Alarms().Set(time.Now().Add(sweepEvery))
}

// Before returns the last lines whose IDs are less than id.
func (l *Log) Before(_ context.Context, id int64) (history, error) {
	h := history{Type: "history", Lines: []Line{}}
	for line, err := range dog.QueryAs[Line](l.Storage().SQL(),
		`SELECT * FROM lines WHERE id < ? ORDER BY id DESC LIMIT ?`, id, pageLines+1) {
		if err != nil {
			return history{}, err
		}
		if h.More = len(h.Lines) == pageLines; !h.More {
			h.Lines = append(h.Lines, line)
		}
	}
	slices.Reverse(h.Lines)
	return h, nil
}

// OnAlarm deletes lines that are too old or too many. It runs every hour from
// the first line on, whether or not the log is in memory.
func (l *Log) OnAlarm(context.Context, dog.Alarm) error {
	_, err := l.Storage().SQL().Exec(`DELETE FROM lines
		WHERE id < ? OR id <= (SELECT id FROM lines ORDER BY id DESC LIMIT 1 OFFSET ?)`,
		time.Now().Add(-maxAge).UnixMilli(), maxLines)
	if err != nil {
		return err
	}
	return l.Storage().Alarms().Set(time.Now().Add(sweepEvery))
}
