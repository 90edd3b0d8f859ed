package sqlite

import (
	"fmt"
	"strings"

	sqlite3 "github.com/ncruces/go-sqlite3"

	"github.com/godurable/dog/internal/store"
)

// reserved is how the names of tables begin that are the library's own.
const reserved = "_dog_"

// pragmas are those that an object may use. They change nothing but the database, and that within the transaction.
var pragmas = map[string]struct {
	arg   bool // may have an argument
	early bool // its argument has an effect as soon as the statement is prepared
}{
	"collation_list":     {},
	"defer_foreign_keys": {arg: true, early: true},
	"encoding":           {},
	"foreign_key_check":  {arg: true},
	"foreign_key_list":   {arg: true},
	"foreign_keys":       {},
	"freelist_count":     {},
	"function_list":      {},
	"index_info":         {arg: true},
	"index_list":         {arg: true},
	"index_xinfo":        {arg: true},
	"integrity_check":    {arg: true},
	"page_count":         {},
	"page_size":          {},
	"quick_check":        {arg: true},
	"table_info":         {arg: true},
	"table_list":         {arg: true},
	"table_xinfo":        {arg: true},
	"user_version":       {arg: true},
}

// A guard refuses what an object may not do, and notes what the statement does that is prepared. It is owned by its
// connection.
type guard struct {
	trusted bool   // the statement is ours
	refused string // what was refused; empty: nothing
	reads   bool   // the statement selects or changes rows
	other   bool   // it does more than that
	alters  bool   // it alters a table
	early   bool   // see pragmas
}

func (g *guard) reset() { *g = guard{trusted: g.trusted} }

// plain reports whether the statement only selects or changes rows. Of others, SQLite may find out at any time that they
// write, or do not write, after all.
func (g *guard) plain() bool { return g.reads && !g.other }

func (g *guard) refuse(what string) sqlite3.AuthorizerReturnCode {
	if g.refused == "" {
		g.refused = what
	}
	return sqlite3.AUTH_DENY
}

// check is SQLite's authorizer: it is asked for everything a statement will do, when it is prepared.
func (g *guard) check(action sqlite3.AuthorizerActionCode, name, detail, _, _ string) sqlite3.AuthorizerReturnCode {
	if g.trusted {
		return sqlite3.AUTH_OK
	}
	switch action {
	case sqlite3.AUTH_SELECT, sqlite3.AUTH_RECURSIVE, sqlite3.AUTH_FUNCTION:
		g.reads = true
		return sqlite3.AUTH_OK
	case sqlite3.AUTH_READ, sqlite3.AUTH_INSERT, sqlite3.AUTH_UPDATE, sqlite3.AUTH_DELETE:
		g.reads = true
		detail = "" // the name of a column
	case sqlite3.AUTH_PRAGMA:
		g.other = true
		p, ok := pragmas[strings.ToLower(name)]
		if !ok || detail != "" && !p.arg {
			return g.refuse("PRAGMA " + name)
		}
		g.early = g.early || p.early && detail != ""
	case sqlite3.AUTH_ALTER_TABLE:
		g.other, g.alters = true, true
	case sqlite3.AUTH_CREATE_TABLE, sqlite3.AUTH_CREATE_INDEX, sqlite3.AUTH_CREATE_TRIGGER, sqlite3.AUTH_CREATE_VIEW,
		sqlite3.AUTH_DROP_TABLE, sqlite3.AUTH_DROP_INDEX, sqlite3.AUTH_DROP_TRIGGER, sqlite3.AUTH_DROP_VIEW,
		sqlite3.AUTH_REINDEX, sqlite3.AUTH_ANALYZE:
		g.other = true
	case sqlite3.AUTH_CREATE_TEMP_TABLE, sqlite3.AUTH_CREATE_TEMP_INDEX, sqlite3.AUTH_CREATE_TEMP_TRIGGER,
		sqlite3.AUTH_CREATE_TEMP_VIEW:
		return g.refuse("temporary tables, which would not outlive the connection")
	case sqlite3.AUTH_TRANSACTION, sqlite3.AUTH_SAVEPOINT:
		return g.refuse("the turn is the transaction: " + name)
	case sqlite3.AUTH_ATTACH:
		return g.refuse("ATTACH")
	case sqlite3.AUTH_DETACH:
		return g.refuse("DETACH")
	case sqlite3.AUTH_CREATE_VTABLE, sqlite3.AUTH_DROP_VTABLE:
		return g.refuse("virtual tables")
	default:
		return g.refuse(fmt.Sprintf("action %d", action))
	}
	for _, n := range []string{name, detail} {
		if isReserved(n) {
			return g.refuse("name " + n)
		}
	}
	return sqlite3.AUTH_OK
}

// text refuses what the authorizer is not told of.
func (g *guard) text(statement string) error {
	switch {
	case strings.EqualFold(firstWord(statement), "VACUUM"):
		g.refuse("VACUUM")
	case g.alters && namesReserved(statement): // as the new name
		g.refuse("name " + reserved)
	default:
		return nil
	}
	return store.ErrRefused
}

func isReserved(name string) bool {
	return len(name) >= len(reserved) && strings.EqualFold(name[:len(reserved)], reserved)
}

// namesReserved reports whether a word of the statement begins as reserved names do.
func namesReserved(statement string) bool {
	s := strings.ToLower(statement)
	for at := 0; ; at++ {
		i := strings.Index(s[at:], reserved)
		if i < 0 {
			return false
		}
		if at += i; at == 0 || !isWord(s[at-1]) {
			return true
		}
	}
}

func isWord(b byte) bool {
	return b == '_' || b == '$' || b >= 0x80 || '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}

// firstWord returns the word that sql begins with.
func firstWord(sql string) string {
	sql = skipBlank(sql)
	for i := range len(sql) {
		if !isWord(sql[i]) {
			return sql[:i]
		}
	}
	return sql
}

// skipBlank returns sql without the white space, comments and semicolons that it begins with.
func skipBlank(sql string) string {
	for {
		sql = strings.TrimLeft(sql, " \t\n\f\r;\ufeff")
		end := ""
		switch {
		case strings.HasPrefix(sql, "--"):
			end = "\n"
		case strings.HasPrefix(sql, "/*"):
			end = "*/"
		default:
			return sql
		}
		_, rest, found := strings.Cut(sql[2:], end)
		if !found {
			return ""
		}
		sql = rest
	}
}
