package main

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/godurable/dog"
)

// schema has a step for each release that changed the database.
var schema = dog.Schema{
	`CREATE TABLE paragraphs (
		id    INTEGER PRIMARY KEY,
		place INTEGER NOT NULL,
		text  TEXT NOT NULL CHECK (length(text) BETWEEN 1 AND 10000)
	)`,
	// With a default, so that the release before can still insert.
	`ALTER TABLE paragraphs ADD COLUMN author TEXT NOT NULL DEFAULT ''`,
}

// Document is one document, whether or not anyone has it open.
type Document struct {
	dog.Object
	authors bool // this release has the second step of the schema
}

// Paragraph is a paragraph of a document.
type Paragraph struct {
	ID     int64  `json:"id"`
	Text   string `json:"text"`
	Author string `json:"author,omitempty"` // of the last change
}

// A change is a request of a client, and then the message to all clients.
type change struct {
	Op         string      `json:"op"` // insert, write, remove; to clients also document, people, refused
	After      int64       `json:"after,omitempty"`
	Paragraph  Paragraph   `json:"paragraph,omitzero"`
	Paragraphs []Paragraph `json:"paragraphs,omitempty"`
	People     []string    `json:"people,omitempty"`
	Why        string      `json:"why,omitempty"`
}

// Paragraphs returns the document's paragraphs in their order.
func (d *Document) Paragraphs(context.Context) (all []Paragraph, err error) {
	query := "SELECT id, text FROM paragraphs ORDER BY place"
	if d.authors {
		query = "SELECT id, text, author FROM paragraphs ORDER BY place"
	}
	for p, err := range dog.QueryAs[Paragraph](d.Storage().SQL(), query) {
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// OnOpen sends a client the document, and all clients the list of people.
func (d *Document) OnOpen(ctx context.Context, s *dog.Socket) error {
	all, err := d.Paragraphs(ctx)
	if err != nil {
		return err
	}
	return errors.Join(s.Send(change{Op: "document", Paragraphs: all}), d.sendPeople())
}

// OnClose sends the others the list of people.
func (d *Document) OnClose(context.Context, *dog.Socket, int, string) error { return d.sendPeople() }

func (d *Document) sendPeople() error {
	var people []string
	for s := range d.Sockets() {
		people = append(people, s.UID())
	}
	slices.Sort(people)
	return d.Broadcast(change{Op: "people", People: slices.Compact(people)}, dog.Coalesce("people"))
}

// errAsked is the error for a change that makes no sense, perhaps because of an
// earlier change by another client.
var errAsked = errors.New("there is no such paragraph or operation")

// OnMessage makes a change and sends it to all clients, the author included.
// dog holds the message until the change is durable.
func (d *Document) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	var c change
	if err := m.Decode(&c); err != nil {
		return s.Send(change{Op: "refused", Why: "the message is not JSON"})
	}
	c = change{
		Op: c.Op, After: c.After, Paragraph: Paragraph{ID: c.Paragraph.ID, Text: c.Paragraph.Text, Author: s.UID()},
	}
	err := d.Storage().Transaction(func() error { return d.apply(&c) })
	switch {
	case errors.Is(err, dog.ErrConstraint):
		return s.Send(change{Op: "refused", Why: "a paragraph has 1 to 10,000 characters"})
	case errors.Is(err, errAsked):
		return s.Send(change{Op: "refused", Why: err.Error()})
	case err != nil:
		return err
	}
	return d.Broadcast(c)
}

// apply makes a change.
func (d *Document) apply(c *change) (err error) {
	sql := d.Storage().SQL()
	var done dog.SQLResult
	switch p := &c.Paragraph; c.Op {
	case "insert":
		// After the paragraph with this ID; for 0, before all others.
		place, _, err := dog.QueryRowAs[int64](
			sql, "SELECT coalesce(max(place), 0) FROM paragraphs WHERE id = ?", c.After,
		)
		if err != nil {
			return err
		}
		if _, err = sql.Exec("UPDATE paragraphs SET place = place + 1 WHERE place > ?", place); err != nil {
			return err
		}
		if done, err = sql.Exec("INSERT INTO paragraphs (place, text) VALUES (?, ?)", place+1, p.Text); err != nil {
			return err
		}
		p.ID = done.LastInsertID
	case "write":
		done, err = sql.Exec("UPDATE paragraphs SET text = ? WHERE id = ?", p.Text, p.ID)
	case "remove":
		c.Paragraph = Paragraph{ID: p.ID}
		done, err = sql.Exec("DELETE FROM paragraphs WHERE id = ?", p.ID)
	}
	if err != nil || done.RowsAffected == 0 {
		return cmp.Or(err, errAsked)
	}
	if !d.authors || c.Op == "remove" {
		c.Paragraph.Author = ""
		return nil
	}
	_, err = sql.Exec("UPDATE paragraphs SET author = ? WHERE id = ?", c.Paragraph.Author, c.Paragraph.ID)
	return err
}
