package sqlite

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"sync/atomic"
	"time"

	sqlite3 "github.com/ncruces/go-sqlite3"
)

// fileTime limits the work on a file by one connection, independent of its
// context.
const fileTime = time.Hour

// A reader reads until its context is done.
type reader struct {
	ctx context.Context // fixed
	r   io.Reader       // fixed
}

func (r reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

// withFile opens a SQLite file and calls f, which is ended when ctx is done.
func (p *Pool) withFile(
	ctx context.Context, file string, flags sqlite3.OpenFlag, f func(*sqlite3.Conn) error,
) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	file, err = filepath.Abs(file)
	if err != nil {
		return err
	}
	files := p.osFiles()
	defer files.close()
	defer func() { err = files.explain(err) }()
	db, err := files.open(file, flags)
	if err != nil {
		return damaged(err)
	}
	torn, err := p.use(ctx, db, f)
	if !torn {
		closed := db.Close()
		if err == nil {
			err = closed
		}
	}
	return damaged(err)
}

// use runs f on an open file. If the connection panics, its memory is freed and
// it must not be used again.
func (p *Pool) use(ctx context.Context, db *sqlite3.Conn, f func(*sqlite3.Conn) error) (torn bool, err error) {
	ended := new(atomic.Bool)
	m := &meter{Context: context.Background(), closing: ended, dog: watchdog{seal: seal, log: p.log}}
	vm, err := machineOf(db)
	if err != nil {
		return false, err
	}
	defer func() {
		v := recover()
		torn = v != nil
		m.end()
		m.dog.free()
		switch {
		case torn && m.bit:
			err = errTime
		case torn:
			err = panicked(v, p.log)
		}
		if torn {
			vm.free()
		}
		if err != nil && (m.bit || errors.Is(err, sqlite3.INTERRUPT)) {
			err = limitOf(ctx, m)
		}
	}()
	vm.askOften()
	m.dog.memory = vm.all()
	db.SetInterrupt(m)
	if err := errors.Join(addFunctions(db, maxFileValue), config(db, sqlite3.DBCONFIG_DEFENSIVE, true),
		config(db, sqlite3.DBCONFIG_TRUSTED_SCHEMA, false)); err != nil {
		return false, err
	}
	m.begin(&budget{time: fileTime}, false)
	defer m.end()
	defer endWith(ctx, m, ended)()
	err = f(db)
	m.finish()
	return false, err
}

// maxFileValue is SQLite's own limit on the bytes of a value.
const maxFileValue = 1_000_000_000

func config(db *sqlite3.Conn, op sqlite3.DBConfig, on bool) error {
	_, err := db.Config(op, on)
	return err
}
