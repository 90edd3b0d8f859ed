// Package nearmiss finds methods that were probably meant to be handlers but
// are not: a misspelled name, a wrong signature, a handler of another kind of
// type. Such a method would never be called, and nothing would report it.
//
// It works on types and names alone. It knows neither the handlers of package
// dog nor what calls them: the caller lists them.
package nearmiss

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Handler is a handler that types of some kinds may have. K is the kind of a
// type. Its String is a noun, such as "Object".
type Handler[K Kind] struct {
	method reflect.Method
	kinds  []K
}

// A Kind is a kind of type.
type Kind interface {
	comparable
	fmt.Stringer
}

// HandlerOf returns the handler that is the only method of the interface I, for
// types of these kinds.
func HandlerOf[I any, K Kind](kinds ...K) Handler[K] {
	return Handler[K]{method: reflect.TypeFor[I]().Method(0), kinds: kinds}
}

// Find returns what is wrong with a method of a type of this kind that is
// nearly one of the handlers, or looks like a handler and is none. It returns
// "" if there is no such method.
func Find[K Kind](typ reflect.Type, kind K, handlers []Handler[K]) (problem string) {
	for method := range typ.Methods() {
		if problem := find(method, kind, handlers); problem != "" {
			return problem
		}
	}
	return ""
}

// find is Find for one method.
func find[K Kind](method reflect.Method, kind K, handlers []Handler[K]) (problem string) {
	has := signature(method.Type, 1) // without the receiver
	for _, h := range handlers {
		want := h.method
		wantSignature := signature(want.Type, 0)
		same := has == wantSignature
		if method.Name == want.Name {
			switch {
			case !slices.Contains(h.kinds, kind):
				// A type may use a name such as Identify, which does not look
				// like a handler's, for its own purposes.
				if same || strings.HasPrefix(want.Name, "On") {
					return fmt.Sprintf(
						"%s is a handler of %s, not of %s", want.Name, namesOf(h.kinds), namesOf([]K{kind}),
					)
				}
			case !same:
				return fmt.Sprintf("its method %s%s must be %s%s", method.Name, has, want.Name, wantSignature)
			}
			return ""
		}
	}
	for _, h := range handlers {
		want := h.method
		wantSignature := signature(want.Type, 0)
		handlerLike := has == wantSignature || strings.HasPrefix(strings.ToLower(method.Name), "on")
		if handlerLike && distance(strings.ToLower(method.Name), strings.ToLower(want.Name)) <= 2 {
			return fmt.Sprintf("its method %s%s looks like the handler %s%s: rename it to one or the other",
				method.Name, has, want.Name, wantSignature)
		}
	}
	if isOnMethod(method.Name) {
		return fmt.Sprintf("its method %s%s is no handler and would never be called: rename it; %s has the handlers %s",
			method.Name, has, kind, strings.Join(handlersOf(kind, handlers), ", "))
	}
	return ""
}

// namesOf returns the names of kinds, each with its article.
func namesOf[K Kind](kinds []K) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		article := "a "
		if strings.ContainsRune("AEIOU", rune(k.String()[0])) {
			article = "an "
		}
		names[i] = article + k.String()
	}
	return strings.Join(names, " or ")
}

// isOnMethod reports whether a method has a name like a handler's: OnX….
func isOnMethod(name string) bool {
	next, found := strings.CutPrefix(name, "On")
	first, _ := utf8.DecodeRuneInString(next)
	return found && unicode.IsUpper(first)
}

// handlersOf returns the names of the handlers that a type of this kind may
// have.
func handlersOf[K Kind](kind K, handlers []Handler[K]) (names []string) {
	for _, h := range handlers {
		if slices.Contains(h.kinds, kind) {
			names = append(names, h.method.Name)
		}
	}
	return names
}

// signature returns the parameters and results of a function as text, without
// the first skip parameters.
func signature(f reflect.Type, skip int) string {
	var in, out []string
	for i := skip; i < f.NumIn(); i++ {
		in = append(in, f.In(i).String())
	}
	for i := range f.NumOut() {
		out = append(out, f.Out(i).String())
	}
	results := strings.Join(out, ", ")
	switch len(out) {
	case 0:
	case 1:
		results = " " + results
	default:
		results = " (" + results + ")"
	}
	return "(" + strings.Join(in, ", ") + ")" + results
}

// distance returns the number of insertions, deletions, replacements and swaps
// of neighbours that turn a into b (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replaced := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			rows[i][j] = min(replaced, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
