package sqlite

import (
	"fmt"
	"regexp"
	"strings"

	sqlite3 "github.com/ncruces/go-sqlite3"

	"github.com/godurable/dog/internal/store"
)

// reserved is the prefix of the names of the library's own tables.
const reserved = "_dog_"

// modules are the modules of virtual tables that an object may create.
const modules = "fts5 and fts5vocab"

// pragmas are the pragmas that an object may use. They change only the
// database, within the transaction.
var pragmas = map[string]struct {
	arg    bool // an argument is allowed
	begins bool // writes without SQLite reporting it, so the transaction
	// must be open when it is prepared. A pragma that may have an argument
	// writes only with one, except optimize.
}{
	"application_id":     {arg: true},
	"collation_list":     {},
	"data_version":       {}, // used by FTS5
	"defer_foreign_keys": {arg: true, begins: true},
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
	"optimize":           {arg: true, begins: true},
	"page_count":         {},
	"page_size":          {},
	"quick_check":        {arg: true},
	"table_info":         {arg: true},
	"table_list":         {arg: true},
	"table_xinfo":        {arg: true},
	"user_version":       {arg: true},
}

// A guard refuses actions that an object may not perform, and records the
// actions of the statement being prepared. It is owned by its connection.
type guard struct {
	trusted bool   // it is a statement of the library
	direct  bool   // it is the object's own statement, not run by another
	empty   bool   // it is a pragma with an empty argument, which SQLite reports like none
	refused string // the refused action, and an alternative; empty: none
	reads   bool   // the statement selects or changes rows
	other   bool   // it does more than that
	alters  bool   // it alters a table
	begins  bool   // see pragmas
	search  bool   // it creates a virtual table
}

func (g *guard) reset() { *g = guard{trusted: g.trusted, direct: g.direct} }

// plain reports whether the statement only selects or changes rows. For other
// statements, SQLite may decide later whether they write.
func (g *guard) plain() bool { return g.reads && !g.other }

func (g *guard) refuse(what string) sqlite3.AuthorizerReturnCode {
	if g.refused == "" {
		g.refused = what
	}
	return sqlite3.AUTH_DENY
}

// check is SQLite's authorizer. It is called for every action of a statement
// when the statement is prepared, and refuses unknown actions.
func (g *guard) check(
	action sqlite3.AuthorizerActionCode, name, detail, schema, _ string,
) sqlite3.AuthorizerReturnCode {
	if g.trusted {
		return sqlite3.AUTH_OK
	}
	if action == sqlite3.AUTH_ALTER_TABLE {
		schema, name = name, ""
	}
	if schema != "" && !strings.EqualFold(schema, "main") && !g.renames(action, name) {
		return g.refuse("schema " + schema + ": an object keeps only what is in main: use a table there, or WITH")
	}
	switch action {
	case sqlite3.AUTH_SELECT, sqlite3.AUTH_RECURSIVE, sqlite3.AUTH_FUNCTION:
		g.reads = true
		return sqlite3.AUTH_OK
	case sqlite3.AUTH_READ, sqlite3.AUTH_INSERT, sqlite3.AUTH_UPDATE, sqlite3.AUTH_DELETE:
		g.reads = true
		detail = "" // a column name
	case sqlite3.AUTH_PRAGMA:
		g.other = true
		p, ok := pragmas[strings.ToLower(name)]
		if strings.EqualFold(name, "foreign_keys") && (detail != "" || g.empty) {
			return g.refuse("PRAGMA foreign_keys: they are always checked; a step of a Schema runs without them " +
				"when it begins with PRAGMA foreign_keys = OFF; (in this spelling)")
		}
		if !ok || (detail != "" || g.empty) && !p.arg {
			return g.refuse("PRAGMA " + name + ": it is not among those that leave the connection as it is: see SQL")
		}
		begins := p.begins && (detail != "" || strings.EqualFold(name, "optimize"))
		if begins && !g.direct {
			return g.refuse("PRAGMA " + name + " within a statement: it has to be one by itself")
		}
		g.begins = g.begins || begins
	case sqlite3.AUTH_ALTER_TABLE:
		g.other, g.alters = true, true
	case sqlite3.AUTH_CREATE_TABLE, sqlite3.AUTH_CREATE_INDEX, sqlite3.AUTH_CREATE_TRIGGER, sqlite3.AUTH_CREATE_VIEW,
		sqlite3.AUTH_DROP_TABLE, sqlite3.AUTH_DROP_INDEX, sqlite3.AUTH_DROP_TRIGGER, sqlite3.AUTH_DROP_VIEW,
		sqlite3.AUTH_DROP_VTABLE, sqlite3.AUTH_REINDEX, sqlite3.AUTH_ANALYZE:
		g.other = true
	case sqlite3.AUTH_CREATE_VTABLE:
		if m := strings.ToLower(detail); m != "fts5" && m != "fts5vocab" {
			return g.refuse("virtual table of module " + detail + ": there are only " + modules)
		}
		g.other, g.search = true, true
	case sqlite3.AUTH_CREATE_TEMP_TABLE, sqlite3.AUTH_CREATE_TEMP_INDEX, sqlite3.AUTH_CREATE_TEMP_TRIGGER,
		sqlite3.AUTH_CREATE_TEMP_VIEW, sqlite3.AUTH_DROP_TEMP_TABLE, sqlite3.AUTH_DROP_TEMP_INDEX,
		sqlite3.AUTH_DROP_TEMP_TRIGGER, sqlite3.AUTH_DROP_TEMP_VIEW:
		return g.refuse("temporary tables, which would not outlive the connection: use a table in main, or WITH")
	case sqlite3.AUTH_TRANSACTION, sqlite3.AUTH_SAVEPOINT:
		return g.refuse(
			written(action, name, detail) + ": the turn is the transaction: use Storage.Transaction for a nested one",
		)
	case sqlite3.AUTH_ATTACH:
		return g.refuse("ATTACH: an object has one database: call the object that has the other")
	case sqlite3.AUTH_DETACH:
		return g.refuse("DETACH: an object has one database")
	default:
		return g.refuse(fmt.Sprintf("what SQLite calls action %d", action))
	}
	for _, n := range []string{name, detail} {
		if isReserved(n) {
			return g.refuse("name " + n + ": choose one that does not begin with " + reserved)
		}
	}
	return sqlite3.AUTH_OK
}

// written returns the SQL keywords of a statement that SQLite reports as
// operation.
func written(action sqlite3.AuthorizerActionCode, operation, savepoint string) string {
	switch {
	case action == sqlite3.AUTH_TRANSACTION && operation == "COMMIT":
		return "COMMIT, or END"
	case action == sqlite3.AUTH_TRANSACTION:
		return operation
	case operation == "BEGIN":
		return "SAVEPOINT " + savepoint
	case operation == "ROLLBACK":
		return "ROLLBACK TO " + savepoint
	}
	return operation + " " + savepoint
}

// renames reports whether SQLite performs this action internally, in the empty
// schema of temporary tables, when a table is altered.
func (g *guard) renames(action sqlite3.AuthorizerActionCode, name string) bool {
	return g.alters && strings.HasPrefix(name, "sqlite_temp_") &&
		(action == sqlite3.AUTH_READ || action == sqlite3.AUTH_UPDATE)
}

// gap matches white space and comments between the words of a statement.
const gap = `(?:[\s\x{feff}]|--[^\n]*(?:\n|$)|/\*(?s:.*?)\*/)*`

// emptyArgument matches the beginning of a pragma with an empty argument.
var emptyArgument = regexp.MustCompile(
	`(?is)^(?:explain\b` + gap + `(?:query\b` + gap + `plan\b` + gap + `)?)?pragma\b` +
		`(?:` + gap[:len(gap)-1] + `|\w+|"[^"]*"|'[^']*'|\[[^\]]*\]|` + "`[^`]*`" + `|\.)*[=(]` + gap +
		`(?:''|""|\[\]|` + "``" + `)`,
)

// text refuses actions that are not reported to the authorizer.
func (g *guard) text(statement string) error {
	switch {
	case strings.EqualFold(firstWord(statement), "VACUUM"):
		g.refuse("VACUUM: what is deleted is used again; Stub.Export writes a copy")
	case g.alters && namesReserved(statement): // as the new name
		g.refuse("name " + reserved + ": choose one that does not begin so")
	default:
		return nil
	}
	return store.ErrRefused
}

func isReserved(name string) bool {
	return len(name) >= len(reserved) && strings.EqualFold(name[:len(reserved)], reserved)
}

// namesReserved reports whether a word of the statement begins with reserved.
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

// firstWord returns the first word of sql.
func firstWord(sql string) string {
	sql = skipBlank(sql)
	for i := range len(sql) {
		if !isWord(sql[i]) {
			return sql[:i]
		}
	}
	return sql
}

// skipBlank returns sql without leading white space, comments and semicolons.
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
