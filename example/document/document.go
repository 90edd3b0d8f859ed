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

// Document is one document, whether somebody has it open or not.
type Document struct {
	dog.Object
	authors bool // this release knows the second step of the schema
}

// Paragraph is a paragraph of a document.
type Paragraph struct {
	ID     int64  `json:"id"`
	Text   string `json:"text"`
	Author string `json:"author,omitempty"` // who wrote it last
}

// A change is what a client asks for, and what all are told then.
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

// OnOpen shows a client the document, and everybody who is there.
func (d *Document) OnOpen(ctx context.Context, s *dog.Socket) error {
	all, err := d.Paragraphs(ctx)
	if err != nil {
		return err
	}
	return errors.Join(s.Send(change{Op: "document", Paragraphs: all}), d.tellPeople())
}

// OnClose tells the others who has stayed.
func (d *Document) OnClose(context.Context, *dog.Socket, int, string) error { return d.tellPeople() }

func (d *Document) tellPeople() error {
	var people []string
	for s := range d.Sockets() {
		people = append(people, s.UID())
	}
	slices.Sort(people)
	return d.Broadcast(change{Op: "people", People: slices.Compact(people)}, dog.Coalesce("people"))
}

// errAsked is for a change that makes no sense, perhaps since somebody was
// faster.
var errAsked = errors.New("there is no such paragraph or operation")

// OnMessage makes a change and tells everybody, also who asked: nobody hears of
// it before it is durable.
func (d *Document) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	var c change
	if err := m.Decode(&c); err != nil {
		return s.Send(change{Op: "refused", Why: "that is no JSON"})
	}
	c = change{Op: c.Op, After: c.After, Paragraph: Paragraph{ID: c.Paragraph.ID, Text: c.Paragraph.Text, Author: s.UID()}}
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
		// After the paragraph with the ID, and before all others for 0.
		place, _, err := dog.QueryRowAs[int64](sql, "SELECT coalesce(max(place), 0) FROM paragraphs WHERE id = ?", c.After)
		if err != nil {
			return err
		}
		_, err = sql.Exec("UPDATE paragraphs SET place = place + 1 WHERE place > ?", place)
		if err != nil {
			return err
		}
		done, err = sql.Exec("INSERT INTO paragraphs (place, text) VALUES (?, ?)", place+1, p.Text)
		if err != nil {
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
