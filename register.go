package dog

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// groupType is satisfied by pointers to types that embed Group, and Group alone.
type groupType[T any] interface {
	*T
	base() *Object
	group() *Group
}

// objectType is satisfied by pointers to types that embed Object, Group or Replica.
type objectType[T any] interface {
	*T
	base() *Object
}

// replicaType is satisfied by pointers to types that embed Replica, and Replica alone.
type replicaType[T any] interface {
	*T
	base() *Object
	replica() *Replica
}

// RegisterGroup makes T, a type that embeds [Group], known to the runtime under a name, which is its namespace. setup completes
// each new T before its first event: it sets Limit and hands over what T depends on. It is called once more at registration, on a
// T that is thrown away and has no name, to see that the Limit is set; a nil setup can therefore not pass.
//
// The error is a [RegistrationError]: the name is empty or taken, a method of T is nearly a handler, or Limit is below 1.
func RegisterGroup[T any, P groupType[T]](rt *Runtime, name string, setup func(*T)) (*Namespace[T], error) {
	ns := &namespace{name: name, kind: KindGroup, typ: reflect.TypeFor[P](), build: builder[T, P](setup)}
	ns.check = func() (problem string) {
		v := new(T)
		if !embedded(P(v).base) {
			return "it embeds *dog.Group: embed dog.Group itself"
		}
		if setup != nil {
			setup(v)
		}
		return P(v).group().problem()
	}
	ns.baseOf = func(v any) *Object { return P(v.(*T)).base() }
	ns.groupOf = func(v any) *Group { return P(v.(*T)).group() }
	return register[T](rt, ns)
}

// RegisterReplica makes T, a type that embeds [Replica], known to the runtime under a name, which is its namespace. setup
// completes each new T before its first event: it hands over what T depends on. A nil setup does nothing.
//
// The error is a [RegistrationError]: the name is empty or taken, T has no Receive, or a method of T is nearly a handler.
func RegisterReplica[T any, P replicaType[T]](rt *Runtime, name string, setup func(*T)) (*Namespace[T], error) {
	ns := &namespace{name: name, kind: KindReplica, typ: reflect.TypeFor[P](), build: builder[T, P](setup)}
	ns.baseOf = func(v any) *Object { return P(v.(*T)).base() }
	ns.check = func() (problem string) {
		v := P(new(T))
		if !embedded(v.base) {
			return "it embeds *dog.Replica: embed dog.Replica itself"
		}
		if _, ok := any(v).(Receiver); !ok {
			return "a Replica must have the method Receive(http.ResponseWriter, *http.Request)"
		}
		return ""
	}
	return register[T](rt, ns)
}

// builder returns what makes a new T for an instance.
func builder[T any, P interface {
	*T
	base() *Object
}](setup func(*T)) func(*instance) any {
	return func(o *instance) any {
		v := new(T)
		P(v).base().core = o // for setup to use
		if setup != nil {
			setup(v)
		}
		P(v).base().core = o // again, as setup may assign a whole T
		return v
	}
}

// RegisterObject makes T, a type that embeds [Object] itself, known to the runtime under a name, which is its namespace. setup
// completes each new T before its first event: it hands over what T depends on. A nil setup does nothing.
//
// The error is a [RegistrationError]: the name is empty or taken, T embeds Group or Replica, or a method of T is nearly a
// handler.
func RegisterObject[T any, P objectType[T]](rt *Runtime, name string, setup func(*T)) (*Namespace[T], error) {
	ns := &namespace{name: name, kind: KindObject, typ: reflect.TypeFor[P](), build: builder[T, P](setup)}
	ns.baseOf = func(v any) *Object { return P(v.(*T)).base() }
	ns.check = func() (problem string) {
		v := P(new(T))
		if !embedded(v.base) {
			return "it embeds *dog.Object: embed dog.Object itself"
		}
		switch any(v).(type) {
		case interface{ group() *Group }:
			return "it embeds dog.Group: use RegisterGroup"
		case interface{ replica() *Replica }:
			return "it embeds dog.Replica: use RegisterReplica"
		}
		return ""
	}
	return register[T](rt, ns)
}

func register[T any](rt *Runtime, ns *namespace) (*Namespace[T], error) {
	refuse := func(problem string) error {
		return &RegistrationError{Namespace: ns.name, Type: ns.typ.Elem().String(), Problem: problem}
	}
	if rt == nil || rt.ctx == nil {
		return nil, fmt.Errorf("%w: %w", refuse("the runtime is nil or was not made by New"), ErrNotRunning)
	}
	if ns.name == "" {
		return nil, refuse("the name is empty")
	}
	if problem := nearMiss(ns.typ, ns.kind); problem != "" {
		return nil, refuse(problem)
	}
	if problem := ns.tryCheck(); problem != "" {
		return nil, refuse(problem)
	}
	ns.rt = rt
	ns.methods = methodsOf(ns.typ)
	ns.clusterizes = ns.typ.Implements(reflect.TypeFor[Clusterizer]())
	ns.gateway = ns.typ.Implements(reflect.TypeFor[Gateway]())
	ns.gossips = ns.typ.Implements(reflect.TypeFor[GossipHandler]())
	ns.stops = ns.typ.Implements(reflect.TypeFor[Stopper]())
	ns.alarms = ns.typ.Implements(reflect.TypeFor[AlarmHandler]())
	ns.onError = ns.typ.Implements(reflect.TypeFor[ErrorHandler]())
	ns.objects = make(map[ID]*object)
	ns.starts = ns.typ.Implements(reflect.TypeFor[Starter]())
	rt.registering.Lock()
	defer rt.registering.Unlock()
	if rt.registeredAs(ns.name) != nil {
		return nil, refuse("the name is taken")
	}
	record, err := rt.catalog.Register(ns.name, int(ns.kind))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", refuse("the store refuses it"), err)
	}
	ns.number, ns.origin = record.Number, record.Origin
	ns.schedule = newSchedule(ns)
	rt.add(ns)
	return &Namespace[T]{ns: ns}, nil
}

// embedded reports whether base finds the Object of a new value; it panics where a pointer is embedded, which is nil.
func embedded(base func() *Object) (found bool) {
	defer func() { _ = recover() }()
	return base() != nil
}

// tryCheck runs check, in which the user's setup may panic.
func (ns *namespace) tryCheck() (problem string) {
	defer func() {
		if p := recover(); p != nil {
			problem = fmt.Sprintf("setup panicked: %v", p)
		}
	}()
	return ns.check()
}

// handlerTypes are the handlers and the kinds of types that may have them.
var handlerTypes = []struct {
	iface reflect.Type
	kinds []Kind
}{
	{reflect.TypeFor[Receiver](), []Kind{KindGroup, KindReplica, KindObject}},
	{reflect.TypeFor[Starter](), []Kind{KindGroup, KindReplica, KindObject}},
	{reflect.TypeFor[Stopper](), []Kind{KindGroup, KindReplica, KindObject}},
	{reflect.TypeFor[AlarmHandler](), []Kind{KindGroup, KindReplica, KindObject}},
	{reflect.TypeFor[Gateway](), []Kind{KindGroup}},
	{reflect.TypeFor[Clusterizer](), []Kind{KindGroup}},
	{reflect.TypeFor[OpenHandler](), []Kind{KindReplica}},
	{reflect.TypeFor[MessageHandler](), []Kind{KindReplica}},
	{reflect.TypeFor[CloseHandler](), []Kind{KindReplica}},
	{reflect.TypeFor[ErrorHandler](), []Kind{KindReplica}},
	{reflect.TypeFor[GossipHandler](), []Kind{KindReplica}},
}

// nearMiss looks for methods of typ that were probably meant to be handlers but are not.
func nearMiss(typ reflect.Type, kind Kind) (problem string) {
	for i := range typ.NumMethod() {
		if problem := nearMissMethod(typ.Method(i), kind); problem != "" {
			return problem
		}
	}
	return ""
}

func nearMissMethod(method reflect.Method, kind Kind) (problem string) {
	has := signature(method.Type, 1) // without the receiver
	for _, h := range handlerTypes {
		want := h.iface.Method(0)
		wantSignature := signature(want.Type, 0)
		same := has == wantSignature
		if method.Name == want.Name {
			switch {
			case !slices.Contains(h.kinds, kind):
				// Identify and Clusterize are words that a replica may use in its own way.
				if same || strings.HasPrefix(want.Name, "On") {
					return fmt.Sprintf("%s is a handler of a %s, not of a %s", want.Name, h.kinds[0], kind)
				}
			case !same:
				return fmt.Sprintf("its method %s%s must be %s%s", method.Name, has, want.Name, wantSignature)
			}
			return ""
		}
	}
	for _, h := range handlerTypes {
		want := h.iface.Method(0)
		wantSignature := signature(want.Type, 0)
		handlerLike := has == wantSignature || strings.HasPrefix(strings.ToLower(method.Name), "on")
		if handlerLike && distance(strings.ToLower(method.Name), strings.ToLower(want.Name)) <= 2 {
			return fmt.Sprintf("its method %s%s looks like the handler %s%s: rename it to one or the other",
				method.Name, has, want.Name, wantSignature)
		}
	}
	if isOnMethod(method.Name) {
		return fmt.Sprintf("its method %s%s is no handler and would never be called: rename it; %s has the handlers %s",
			method.Name, has, kind, strings.Join(handlersOf(kind), ", "))
	}
	return ""
}

// isOnMethod reports whether a method is named as handlers are: OnX….
func isOnMethod(name string) bool {
	next, found := strings.CutPrefix(name, "On")
	first, _ := utf8.DecodeRuneInString(next)
	return found && unicode.IsUpper(first)
}

// handlersOf returns the names of the handlers that a type of this kind may have.
func handlersOf(kind Kind) (names []string) {
	for _, h := range handlerTypes {
		if slices.Contains(h.kinds, kind) {
			names = append(names, h.iface.Method(0).Name)
		}
	}
	return names
}

// signature writes the parameters and results of a function, leaving out the first skip parameters.
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

// distance counts the insertions, deletions, replacements and swaps of neighbours that make b of a (optimal string alignment).
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
