package sqlite

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	sqlite3 "github.com/ncruces/go-sqlite3"

	"github.com/godurable/dog/internal/osfile"
	"github.com/godurable/dog/internal/store"
)

// Export writes the database in pages, and the additional tables, to a file
// that must not exist. If Export returns nil, the file is complete and durable.
// Otherwise it does not exist. The file is made in a scratch directory next to
// it and placed in one step, so that one of several exports to the same name
// succeeds.
//
// The error is [fs.ErrExist], [fs.ErrInvalid] if the file would be in the
// directory of a store, the cause of ctx, an error of the file system, of pages
// or of the rows of tables, [store.ErrCorrupt] if the database is damaged, or,
// if the disk is full, [store.ErrFull] or the corresponding error of the file
// system.
func (p *Pool) Export(ctx context.Context, file string, pages store.Pages, tables []store.Table) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("dog: export: %w", err)
		}
	}()
	target, err := osfile.Target(file)
	if err != nil {
		return err
	}
	scratch, err := osfile.NewScratch(filepath.Dir(target))
	if err != nil {
		return err
	}
	const name = "database"
	err = p.writeDatabase(ctx, filepath.Join(scratch.Dir, name), pages, tables)
	if err == nil {
		err = scratch.Place(name, target)
	}
	if removed := scratch.Close(); err != nil { // otherwise the file exists, and the next export removes the rest
		err = errors.Join(err, removed)
	}
	return err
}

func (p *Pool) writeDatabase(ctx context.Context, file string, pages store.Pages, tables []store.Table) error {
	f, err := osfile.Create(file)
	if err != nil {
		return err
	}
	if err := errors.Join(writePages(ctx, f, pages), f.Close()); err != nil {
		return err
	}
	if err := p.complete(ctx, file, tables); err != nil {
		return err
	}
	return osfile.SyncFile(file)
}

func writePages(ctx context.Context, f io.Writer, pages store.Pages) error {
	count, err := pages.Count()
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 64*pageSize)
	page := make([]byte, pageSize)
	for n := range count {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		found, err := pages.ReadPage(n, page)
		if err != nil {
			return fmt.Errorf("page %d: %w", n, err)
		}
		if !found { // the same as SQLite would read
			clear(page)
		}
		if _, err := w.Write(page); err != nil {
			return err
		}
	}
	return w.Flush()
}

// complete checks an exported file and adds the tables. The check uses a
// read-only connection, which does not evaluate CHECK constraints, whose cost
// is up to the object.
func (p *Pool) complete(ctx context.Context, file string, tables []store.Table) error {
	if err := p.withFile(ctx, file, sqlite3.OPEN_READONLY, quickCheck); err != nil {
		return err
	}
	if len(tables) == 0 {
		return nil
	}
	return p.withFile(ctx, file, sqlite3.OPEN_READWRITE, func(db *sqlite3.Conn) error {
		// The file is discarded if anything fails.
		if err := db.Exec("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA foreign_keys=OFF"); err != nil {
			return err
		}
		if err := db.Exec(fmt.Sprintf("PRAGMA page_size=%d; BEGIN", pageSize)); err != nil {
			return err
		}
		for _, t := range tables {
			if err := addTable(db, t); err != nil {
				return fmt.Errorf("table %s: %w", t.Name, err)
			}
		}
		return db.Exec("COMMIT")
	})
}

func addTable(db *sqlite3.Conn, t store.Table) error {
	name := sqlite3.QuoteIdentifier(t.Name)
	if err := db.Exec("CREATE TABLE " + name + " (" + strings.Join(t.Columns, ", ") + ")"); err != nil {
		return err
	}
	marks := strings.TrimSuffix(strings.Repeat("?,", len(t.Columns)), ",")
	p, _, err := db.Prepare("INSERT INTO " + name + " VALUES (" + marks + ")")
	if err != nil {
		return err
	}
	defer quietly(p.Close)
	s := &statement{Stmt: p, parameters: p.BindCount()}
	for row, err := range t.Rows {
		if err != nil {
			return err
		}
		if row, err = values(row, math.MaxInt); err != nil {
			return err
		}
		if err := s.bind(row); err != nil {
			return err
		}
		if err := s.Exec(); err != nil {
			return err
		}
	}
	return nil
}

// Import reads a SQLite file of any page size, encoding and journal mode into
// pages, which must be empty, except for the given tables, whose rows it passes
// to row. All rows keep their rowids. Import only reads the file, and any
// journal that another program has left next to it, and creates nothing there.
// It makes copies in the directory for temporary files. After an error, the
// pages must not be used.
//
// The error is the cause of ctx, an error of the file system, of pages or of
// row, or, if the disk is full, [store.ErrFull] or the corresponding error of
// the file system. It is [store.ErrCorrupt] if the file is not a database or is
// damaged, [store.ErrRefused] if it needs features that this SQLite lacks, or
// has other tables with reserved names, and [store.ErrLimit] if it exceeds the
// limits.
func (p *Pool) Import(
	ctx context.Context, file string, pages store.Pages, limits store.SQLLimits, tables []store.Table,
	row func(table string, row []any) error,
) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("dog: import: %w", err)
		}
	}()
	if count, err := pages.Count(); err != nil || count > 0 {
		return errors.Join(err, errors.New("the object has a database already"))
	}
	scratch, err := osfile.NewScratch(os.TempDir())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, scratch.Close()) }()
	in := func(name string) string { return filepath.Join(scratch.Dir, name) }
	copied, whole, own := in("copied"), in("whole"), in("own")
	if err := copyDatabase(ctx, file, copied); err != nil {
		return err
	}
	err = p.withFile(ctx, copied, sqlite3.OPEN_READWRITE, func(db *sqlite3.Conn) error {
		// Merge the journals. A write-ahead log needs no shared memory while
		// the database is locked exclusively.
		return foreign(db.Exec("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=DELETE"))
	})
	if err != nil {
		return err
	}
	err = p.withFile(ctx, copied, sqlite3.OPEN_READONLY, func(db *sqlite3.Conn) error {
		if err := quickCheck(db); err != nil {
			return foreign(err)
		}
		return foreign(copyTo(db, whole))
	})
	if err != nil {
		return err
	}
	err = p.withFile(ctx, whole, sqlite3.OPEN_READWRITE, func(db *sqlite3.Conn) error {
		if err := db.Exec("PRAGMA journal_mode=DELETE; PRAGMA synchronous=OFF; PRAGMA foreign_keys=OFF"); err != nil {
			return err
		}
		for _, table := range tables {
			if err := takeTable(db, table, row); err != nil {
				return fmt.Errorf("table %s: %w", table.Name, err)
			}
		}
		if err := noReserved(db); err != nil {
			return err
		}
		if err := db.Exec(fmt.Sprintf("PRAGMA page_size=%d; PRAGMA auto_vacuum=NONE", pageSize)); err != nil {
			return err
		}
		return copyTo(db, own)
	})
	if err != nil {
		return err
	}
	if err := readPages(ctx, own, pages); err != nil {
		return err
	}
	return importable(ctx, p, pages, limits)
}

// copyDatabase copies a file and its journals. SQLite would write to the
// originals, or create other files next to them, even to read them.
func copyDatabase(ctx context.Context, from, to string) error {
	from, err := filepath.EvalSymlinks(from) // journals are next to the file itself
	if err != nil {
		return err
	}
	for _, suffix := range []string{"", "-wal", "-journal"} {
		if err := copyFile(ctx, from+suffix, to+suffix); err != nil &&
			(suffix == "" || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return nil
}

func copyFile(ctx context.Context, from, to string) (err error) {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() { // opening some other types would block
		return fmt.Errorf("%w: %s is not a regular file", fs.ErrInvalid, from)
	}
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	w, err := osfile.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, reader{ctx, r})
	return errors.Join(err, w.Close())
}

// copyTo writes a compact copy of a database to a file. VACUUM alone would
// assign new rowids to the rows of tables without an INTEGER PRIMARY KEY.
func copyTo(db *sqlite3.Conn, file string) error {
	return db.Exec("VACUUM INTO " + sqlite3.Quote(file))
}

// takeTable passes on the rows of a table, if it exists, and drops it. The
// table must have exactly the described columns, and all must be stored: the
// cost of a computed column would be up to the creator of the file.
func takeTable(db *sqlite3.Conn, t store.Table, row func(string, []any) error) error {
	exists, virtual := false, false
	text := "SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = " + sqlite3.Quote(t.Name)
	err := query(db, text, func(v []any) error {
		exists, virtual = true, v[0] == int64(0)
		return nil
	})
	if err != nil || !exists {
		return err
	}
	if virtual {
		return fmt.Errorf("%w: it is a virtual table", store.ErrCorrupt)
	}
	var columns []string
	others := map[string]bool{} // whether they are stored
	err = query(db, "SELECT name, hidden FROM pragma_table_xinfo("+sqlite3.Quote(t.Name)+")", func(v []any) error {
		others[fmt.Sprint(v[0])] = v[1] == int64(0)
		return nil
	})
	if err != nil {
		return err
	}
	for _, definition := range t.Columns {
		column, _, _ := strings.Cut(definition, " ")
		if !others[column] {
			return fmt.Errorf("%w: it has no column %s, or computes it", store.ErrCorrupt, column)
		}
		delete(others, column)
		columns = append(columns, sqlite3.QuoteIdentifier(column))
	}
	name := sqlite3.QuoteIdentifier(t.Name)
	text = "SELECT " + strings.Join(columns, ", ") + " FROM " + name
	err = query(db, text, func(v []any) error { return row(t.Name, v) }) // row may return that the file is too new
	if err != nil {
		return err
	}
	for column := range others {
		return fmt.Errorf("%w: unknown column %s", store.ErrCorrupt, column)
	}
	return db.Exec("DROP TABLE " + name)
}

func noReserved(db *sqlite3.Conn) error {
	return query(db, "SELECT name FROM sqlite_schema", func(v []any) error {
		if name, ok := v[0].(string); ok && isReserved(name) {
			return fmt.Errorf("%w: name %s", store.ErrRefused, name)
		}
		return nil
	})
}

func readPages(ctx context.Context, file string, pages store.Pages) (err error) {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r := bufio.NewReaderSize(reader{ctx, f}, 64*pageSize)
	page := make([]byte, pageSize)
	for n := uint32(0); ; n++ {
		_, err := io.ReadFull(r, page)
		if err == io.EOF {
			return pages.SetCount(n)
		}
		if err != nil {
			return err
		}
		if n == 0 && binary.BigEndian.Uint16(page[16:]) != pageSize {
			return errors.New("SQLite did not change the size of the pages")
		}
		if err := pages.WritePage(n, page); err != nil {
			return fmt.Errorf("page %d: %w", n, err)
		}
	}
}

func damaged(err error) error {
	switch {
	case errors.Is(err, sqlite3.CORRUPT), errors.Is(err, sqlite3.NOTADB):
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	case errors.Is(err, sqlite3.FULL):
		return fmt.Errorf("%w: make room on the volume: %w", store.ErrFull, err)
	}
	return err
}

func quickCheck(db *sqlite3.Conn) error {
	return query(db, "PRAGMA quick_check(1)", func(v []any) error {
		if v[0] != "ok" {
			return fmt.Errorf("%w: %v", store.ErrCorrupt, v[0])
		}
		return nil
	})
}

// query calls each with the rows of a query.
func query(db *sqlite3.Conn, text string, each func([]any) error) error {
	s, _, err := db.Prepare(text)
	if err != nil {
		return err
	}
	defer quietly(s.Close)
	for s.Step() {
		row := make([]any, s.ColumnCount())
		for i := range row {
			row[i] = value(s, i)
		}
		if err := each(row); err != nil {
			return err
		}
	}
	return s.Err()
}
