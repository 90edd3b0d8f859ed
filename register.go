package dog

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// instanceType is satisfied by pointers to types that embed Object, Replica or
// Group.
type instanceType[T any] interface {
	*T
	base() *core
	embedsOne() // ambiguous, and so missing, where two of them are embedded
}

// objectType is satisfied by pointers to types that embed Object, and Object
// alone.
type objectType[T any] interface {
	*T
	base() *core
	embedsOne()
	embedsObject()
}

// replicaType is satisfied by pointers to types that embed Replica, and Replica
// alone.
type replicaType[T any] interface {
	*T
	base() *core
	embedsOne()
	embedsReplica()
}

// groupType is satisfied by pointers to types that embed Group, and Group
// alone.
type groupType[T any] interface {
	*T
	base() *core
	embedsOne()
	embedsGroup()
}

// RegisterObject registers T with the runtime under a name, which is its
// namespace. T is a type that embeds [Object], or Object itself. Nil options
// stand for the defaults.
//
// The error is a [RegistrationError] when the name is taken or violates the
// rules of [ErrInvalidName], when a method of T is nearly a handler, or when
// the options contradict each other. The RegistrationError may also wrap an
// error of the store or a [UsageError].
func RegisterObject[T any, P objectType[T]](rt *Runtime, name string, options *ObjectOptions[T]) (*Namespace[T], error) {
	if options == nil {
		options = &ObjectOptions[T]{}
	}
	ns := newNamespace[T, P](name, KindObject, options.New)
	ns.schema, ns.allowNewerSchema = options.Schema, options.AllowNewerSchema
	ns.hibernates, ns.rollbackOnError = options.Hibernate, options.RollbackOnError
	ns.maxSockets = options.MaxSockets
	if ns.maxSockets == 0 {
		ns.maxSockets = defaultMaxSockets
	}
	if err := ns.register(rt, options.Sockets); err != nil {
		return nil, err
	}
	return &Namespace[T]{ns}, nil
}

// RegisterReplica registers T with the runtime under a name, which is its
// namespace. T is a type that embeds [Replica], or Replica itself. Groups
// spread their clients over it: see [RegisterGroup]. Nil options stand for the
// defaults. The errors are those of [RegisterObject].
func RegisterReplica[T any, P replicaType[T]](rt *Runtime, name string, options *ReplicaOptions[T]) (*Replicas[T], error) {
	if options == nil {
		options = &ReplicaOptions[T]{}
	}
	ns := newNamespace[T, P](name, KindReplica, options.New)
	ns.schema, ns.allowNewerSchema = options.Schema, options.AllowNewerSchema
	ns.hibernates, ns.rollbackOnError = options.Hibernate, options.RollbackOnError
	if err := ns.register(rt, options.Sockets); err != nil {
		return nil, err
	}
	return &Replicas[T]{ns}, nil
}

// RegisterGroup registers G with the runtime under a name, which is its
// namespace. G is a type that embeds [Group], or Group itself. Its groups
// spread their clients over replicas. Other group types may use the same
// replicas. The options must have a Limit.
//
// The errors are those of [RegisterObject]. RegisterGroup also returns a
// [RegistrationError] when the Limit is below 1, MaxReplicas is negative, Order
// is unknown, HoldPlaces is set without a LingerFor, or the replicas belong to
// another runtime.
func RegisterGroup[G, R any, P groupType[G]](
	rt *Runtime, name string, replicas *Replicas[R], options *GroupOptions[G],
) (*Groups[G, R], error) {
	if options == nil {
		options = &GroupOptions[G]{}
	}
	ns := newNamespace[G, P](name, KindGroup, options.New)
	ns.schema, ns.allowNewerSchema = options.Schema, options.AllowNewerSchema
	ns.hibernates, ns.rollbackOnError = options.Hibernate, options.RollbackOnError
	ns.limit, ns.maxReplicas = options.Limit, options.MaxReplicas
	switch {
	case replicas == nil || replicas.ns == nil:
		ns.problem = "it has no replicas: pass what RegisterReplica returned"
	case replicas.ns.rt != rt:
		ns.problem = fmt.Sprintf("its replicas %q belong to another runtime", replicas.ns.name)
	case options.Limit < 1:
		ns.problem = fmt.Sprintf("GroupOptions.Limit is %d: it must be at least 1", options.Limit)
	case options.MaxReplicas < 0:
		ns.problem = fmt.Sprintf("GroupOptions.MaxReplicas is %d: it must not be negative", options.MaxReplicas)
	case options.Order != LeastLoaded && options.Order != FullestFirst:
		ns.problem = fmt.Sprintf("GroupOptions.Order is %d: it must be LeastLoaded or FullestFirst", options.Order)
	default:
		ns.replicas = replicas.ns
		ns.order, ns.holdPlaces = options.Order, options.HoldPlaces
		ns.lingerFor = cmp.Or(options.LingerFor, rt.opts.LingerFor)
		if ns.holdPlaces && ns.lingerFor <= 0 {
			ns.problem = "GroupOptions.HoldPlaces needs a LingerFor above 0, which says for how long; " +
				"it is switched off in GroupOptions or Options"
		}
	}
	if err := ns.register(rt, SocketOptions{}); err != nil {
		return nil, err
	}
	return &Groups[G, R]{ns}, nil
}

// newNamespace returns a namespace that is not registered yet.
func newNamespace[T any, P instanceType[T]](name string, kind Kind, make func() *T) *namespace {
	ns := &namespace{name: name, kind: kind, typ: reflect.TypeFor[P]()}
	ns.coreOf = func(v any) *core { return P(v.(*T)).base() }
	if !embedded(func() *core { return P(new(T)).base() }) {
		ns.problem = fmt.Sprintf("it embeds *dog.%s: embed dog.%s itself", kind, kind)
	}
	ns.build = func(inst *instance) (any, error) {
		v := new(T)
		if make != nil {
			if v = make(); v == nil {
				return nil, misuse("New", "that of %q returned nil", name)
			}
		}
		c := P(v).base()
		if c.inst != nil {
			return nil, misuse("New", "that of %q returned a value that is in use: it must return a new one each time", name)
		}
		c.inst = inst
		return v, nil
	}
	return ns
}

// register adds the namespace to the runtime. sockets are the defaults of its
// sockets.
func (ns *namespace) register(rt *Runtime, sockets SocketOptions) error {
	refuse := func(problem string) error {
		return &RegistrationError{Namespace: ns.name, Type: ns.typ.Elem().String(), Problem: problem}
	}
	if rt == nil || rt.ctx == nil {
		return refuse("the runtime is nil or was not made by New")
	}
	if err := checkName("name", ns.name); err != nil {
		return fmt.Errorf("%w: %w", refuse("it cannot have this name"), err)
	}
	if ns.problem != "" {
		return refuse(ns.problem)
	}
	if problem := nearMiss(ns.typ, ns.kind); problem != "" {
		return refuse(problem)
	}
	ns.rt = rt
	ns.sockets = sockets.over(rt.opts.Sockets)
	if err := sockets.checkDefaults(); err != nil {
		return fmt.Errorf("%w: %w", refuse("its socket options are wrong"), err)
	}
	if err := ns.sockets.check(); err != nil {
		return fmt.Errorf("%w: %w", refuse("its socket options are wrong"), err)
	}
	ns.shared = ns.sockets.accept(rt)
	ns.methods = methodsOf(ns.typ)
	has := func(handler reflect.Type) bool { return ns.typ.Implements(handler) }
	ns.clusterizes = has(reflect.TypeFor[Clusterizer]())
	ns.gateway = has(reflect.TypeFor[Gateway]())
	ns.gossips = has(reflect.TypeFor[GossipHandler]())
	ns.stops = has(reflect.TypeFor[Stopper]())
	ns.alarms = has(reflect.TypeFor[AlarmHandler]())
	ns.onError = has(reflect.TypeFor[ErrorHandler]())
	ns.onClose = has(reflect.TypeFor[CloseHandler]())
	ns.starts = has(reflect.TypeFor[Starter]())
	ns.connects = ns.kind == KindReplica || ns.kind == KindObject &&
		(ns.onError || ns.onClose || has(reflect.TypeFor[OpenHandler]()) || has(reflect.TypeFor[MessageHandler]()))
	ns.objects = make(map[ID]*object)
	rt.registering.Lock()
	defer rt.registering.Unlock()
	if rt.registeredAs(ns.name) != nil {
		return refuse("the name is taken")
	}
	record, err := rt.catalog.Register(ns.name, int(ns.kind))
	if err != nil {
		return fmt.Errorf("%w: %w", refuse("the store refuses it"), err)
	}
	ns.number, ns.origin = record.Number, record.Origin
	ns.schedule = newSchedule(ns)
	rt.add(ns)
	return nil
}

// embedded reports whether base finds the core of a new value. base panics if
// the type embeds a pointer, since that is nil.
func embedded(base func() *core) (found bool) {
	defer func() { _ = recover() }()
	return base() != nil
}

// handlerTypes lists the handlers and the kinds of types that may have them.
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
	{reflect.TypeFor[OpenHandler](), []Kind{KindObject, KindReplica}},
	{reflect.TypeFor[MessageHandler](), []Kind{KindObject, KindReplica}},
	{reflect.TypeFor[CloseHandler](), []Kind{KindObject, KindReplica}},
	{reflect.TypeFor[ErrorHandler](), []Kind{KindObject, KindReplica}},
	{reflect.TypeFor[GossipHandler](), []Kind{KindReplica}},
}

// nearMiss looks for methods of typ that were probably meant to be handlers but
// are not.
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
				// A replica may use the names Identify and Clusterize for its
				// own purposes.
				if same || strings.HasPrefix(want.Name, "On") {
					return fmt.Sprintf("%s is a handler of %s, not of %s", want.Name, kindsOf(h.kinds), kindsOf([]Kind{kind}))
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

// kindsOf returns the names of kinds, each with its article.
func kindsOf(kinds []Kind) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = "a " + k.String()
		if k == KindObject {
			names[i] = "an Object"
		}
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
func handlersOf(kind Kind) (names []string) {
	for _, h := range handlerTypes {
		if slices.Contains(h.kinds, kind) {
			names = append(names, h.iface.Method(0).Name)
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
