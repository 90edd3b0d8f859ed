// Command sqlite keeps each object in a SQLite file of its own, which every
// commit syncs: what one builds without a library. The driver is
// ncruces/go-sqlite3 by its native API, the statement is prepared, and
// exclusive locking spares the shared memory.
package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/godurable/dog/bench/internal/drive"
)

func main() {
	drive.Main(map[string]func(drive.Job) (drive.Figures, error){"commit": commit, "commit-sql": commit})
}

func commit(job drive.Job) (drive.Figures, error) {
	var all files
	for i := range job.Objects {
		f, err := open(filepath.Join(job.Dir, fmt.Sprint(i)))
		if err != nil {
			return nil, errors.Join(err, all.Close())
		}
		all = append(all, f)
	}
	return drive.Rate(all, job.Objects, 1, job.Time)
}

// A file is the database of an object.
type file struct {
	conn   *sqlite3.Conn
	upsert *sqlite3.Stmt
}

func open(path string) (f file, err error) {
	if f.conn, err = sqlite3.Open("file:" + path); err != nil {
		return file{}, err
	}
	const setup = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; " +
		drive.Table
	if err = f.conn.Exec(setup); err == nil {
		f.upsert, _, err = f.conn.Prepare(drive.Upsert)
	}
	if err != nil {
		return file{}, errors.Join(err, f.conn.Close())
	}
	return f, nil
}

// files are the databases of the workers.
type files []file

func (fs files) Run(worker, n int) (began time.Time, err error) {
	s := fs[worker].upsert
	return drive.Repeat(n, func() error {
		return errors.Join(s.BindText(1, "key"), s.BindBlob(2, drive.Value()), s.Exec())
	})
}

func (fs files) Close() (err error) {
	for _, f := range fs {
		err = errors.Join(err, f.upsert.Close(), f.conn.Close())
	}
	return err
}
