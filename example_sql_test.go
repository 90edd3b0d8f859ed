package dog_test

import (
	"context"
	"fmt"
	"log"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
)

// Notebook is an object with a database of its own.
type Notebook struct{ dog.Object }

// A Note is a row of the table notes.
type Note struct {
	ID   int64
	Text string
	Done bool
}

// Add writes a note down. The caller learns of its number when it is durable.
func (n *Notebook) Add(_ context.Context, text string) (int64, error) {
	result, err := n.Storage().SQL().Exec("INSERT INTO notes (text) VALUES (?)", text)
	return result.LastInsertID, err
}

// Finish marks notes as done: all of them, or none when one does not exist.
func (n *Notebook) Finish(_ context.Context, ids []int64) error {
	return n.Storage().Transaction(func() error {
		for _, id := range ids {
			result, err := n.Storage().SQL().Exec("UPDATE notes SET done = TRUE WHERE id = ?", id)
			if err != nil {
				return err
			}
			if result.RowsAffected == 0 {
				return fmt.Errorf("there is no note %d", id)
			}
		}
		return nil
	})
}

// Open returns the notes that are not done.
func (n *Notebook) Open(context.Context) ([]Note, error) {
	var notes []Note
	for note, err := range dog.Rows[Note](n.Storage().SQL(), "SELECT id, text, done FROM notes WHERE NOT done ORDER BY id") {
		if err != nil {
			return nil, err
		}
		notes = append(notes, note)
	}
	return notes, nil
}

// Every object has its own SQLite database, whose schema is brought up to date when the object starts.
func ExampleStorage_SQL() {
	rt, err := dog.New(dog.Options{Store: disk.Memory()})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	notebooks, err := dog.RegisterObject(rt, "notebook", func(n *Notebook) {
		n.Schema = dog.Schema{
			"CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",
			"ALTER TABLE notes ADD COLUMN done INTEGER NOT NULL DEFAULT FALSE", // a later release
		}
	})
	if err != nil {
		log.Fatal(err)
	}

	ctx, ada := context.Background(), notebooks.Named("ada")
	for _, text := range []string{"buy a lead", "walk the dog", "sleep"} {
		if _, err := dog.Call(ctx, ada, (*Notebook).Add, text); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(dog.Do(ctx, ada, (*Notebook).Finish, []int64{1, 7}))
	fmt.Println(dog.Do(ctx, ada, (*Notebook).Finish, []int64{2}))
	open, err := dog.Call0(ctx, ada, (*Notebook).Open)
	fmt.Println(open, err)
	// Output:
	// there is no note 7
	// <nil>
	// [{1 buy a lead false} {3 sleep false}] <nil>
}
