package dog

import (
	"cmp"
	"context"
	"fmt"
	"reflect"

	"github.com/godurable/dog/internal/nearmiss"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/tx"
)

// anyType is satisfied by pointers to types that embed Object, Replica or
// Group.
type anyType[T any] interface {
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
// The error is a [RegistrationError] (see [errors.As]) when the name is taken
// or not valid, when a method of T is nearly a handler, when T has OnPresence
// and its options no [Presence], and when the options are wrong or contradict
// each other. The returned error, not the RegistrationError in it, may also
// wrap a cause: [ErrInvalidName], [ErrNoStore] for a Schema without a store,
// [ErrShutdown], a [UsageError] for an option, or an error of the store.
func RegisterObject[T any, P objectType[T]](
	rt *Runtime, name string, options *ObjectOptions[T],
) (*Namespace[T], error) {
	if options == nil {
		options = &ObjectOptions[T]{}
	}
	ns := newNamespace[T, P](name, KindObject, options.New)
	ns.Schema = tx.Schema{Steps: options.Schema, AllowNewer: options.AllowNewerSchema}
	ns.Hibernates, ns.RollbackOnError = options.Hibernate, options.RollbackOnError
	ns.presence, ns.problem = options.Presence, cmp.Or(ns.problem, options.Presence.check(KindObject))
	ns.maxSockets = options.MaxSockets
	ns.history = options.History
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
func RegisterReplica[T any, P replicaType[T]](
	rt *Runtime, name string, options *ReplicaOptions[T],
) (*Replicas[T], error) {
	if options == nil {
		options = &ReplicaOptions[T]{}
	}
	ns := newNamespace[T, P](name, KindReplica, options.New)
	ns.Schema = tx.Schema{Steps: options.Schema, AllowNewer: options.AllowNewerSchema}
	ns.Hibernates, ns.RollbackOnError = options.Hibernate, options.RollbackOnError
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
	ns.Schema = tx.Schema{Steps: options.Schema, AllowNewer: options.AllowNewerSchema}
	ns.Hibernates, ns.RollbackOnError = options.Hibernate, options.RollbackOnError
	ns.limit, ns.maxReplicas, ns.presence = options.Limit, options.MaxReplicas, options.Presence
	presence := options.Presence.check(KindGroup)
	switch {
	case presence != "":
		ns.problem = presence
	case replicas == nil || replicas.ns == nil:
		ns.problem = "it has no replicas: pass what RegisterReplica returned"
	case replicas.ns.rt != rt:
		ns.problem = fmt.Sprintf("its replicas %q belong to another runtime", replicas.ns.Name)
	case options.Limit < 1:
		ns.problem = fmt.Sprintf("GroupOptions.Limit is %d: it must be at least 1", options.Limit)
	case options.MaxReplicas < 0:
		ns.problem = fmt.Sprintf("GroupOptions.MaxReplicas is %d: it must not be negative", options.MaxReplicas)
	case options.Order != LeastLoaded && options.Order != FullestFirst:
		ns.problem = fmt.Sprintf("GroupOptions.Order is %d: it must be LeastLoaded or FullestFirst", options.Order)
	default:
		ns.replicas, ns.history = replicas.ns, options.History
		ns.order, ns.holdPlaces = options.Order, options.HoldPlaces
		ns.lingerFor = cmp.Or(options.LingerFor, rt.opts.LingerFor)
		if ns.holdPlaces && ns.lingerFor <= 0 {
			ns.problem = "GroupOptions.HoldPlaces needs a LingerFor above 0, the time for which places are held; " +
				"it is switched off in GroupOptions or Options"
		}
	}
	if err := ns.register(rt, SocketOptions{}); err != nil {
		return nil, err
	}
	return &Groups[G, R]{ns}, nil
}

// newNamespace returns a namespace that is not registered yet.
func newNamespace[T any, P anyType[T]](name string, kind Kind, make func() *T) *namespace {
	ns := &namespace{kind: kind, typ: reflect.TypeFor[P]()}
	ns.Name, ns.Data, ns.Role = name, ns, roles[kind]
	ns.New = func(id object.ID, name string) *object.Object { return &newObject(ns, id, name).Object }
	ns.Made = func(o *object.Object) { ns.rt.watch(stateOf(o).group) }
	ns.coreOf = func(v any) *core { return P(v.(*T)).base() }
	if !embedded(func() *core { return P(new(T)).base() }) {
		ns.problem = fmt.Sprintf("it embeds *dog.%s: embed dog.%s itself", kind, kind)
	}
	ns.Build = func(life *object.Life) (any, error) {
		v := new(T)
		if make != nil {
			if v = make(); v == nil {
				return nil, misuse("New", "New of %q returned nil", name)
			}
		}
		c := P(v).base()
		if c.storage.life != nil {
			return nil, misuse(
				"New", "New of %q returned a value that is in use: it must return a new value each time", name,
			)
		}
		c.storage.life = life
		return v, nil
	}
	return ns
}

// register adds the namespace to the runtime. sockets are the defaults of its
// sockets.
func (ns *namespace) register(rt *Runtime, sockets SocketOptions) error {
	refuse := func(problem string) error {
		return &RegistrationError{Namespace: ns.Name, Type: ns.typ.Elem().String(), Problem: problem}
	}
	if rt == nil || rt.host == nil {
		return refuse("the runtime is nil or was not made by New")
	}
	if rt.stopping.Err() != nil {
		return fmt.Errorf("%w: %w", refuse("the runtime is shutting down"), ErrShutdown)
	}
	if err := checkName("name", ns.Name); err != nil {
		return fmt.Errorf("%w: %w", refuse("it cannot have this name"), err)
	}
	if len(ns.Schema.Steps) > 0 && rt.opts.Store == nil {
		return fmt.Errorf("%w: %w", refuse("its Schema needs an Options.Store, such as disk.Memory()"), ErrNoStore)
	}
	if ns.problem != "" {
		return refuse(ns.problem)
	}
	if problem := nearmiss.Find(ns.typ, ns.kind, handlers); problem != "" {
		return refuse(problem)
	}
	ns.rt = rt
	ns.Schema.Timeout = rt.opts.StartTimeout
	ns.Schema.Error = func(step int, err error) error { return &SchemaError{step, err} }
	ns.sockets = sockets.over(rt.opts.Sockets)
	if err := sockets.checkDefaults(); err != nil {
		return fmt.Errorf("%w: %w", refuse("its socket options are wrong"), err)
	}
	if err := ns.sockets.check(); err != nil {
		return fmt.Errorf("%w: %w", refuse("its socket options are wrong"), err)
	}
	if err := ns.history.check(); err != nil {
		return fmt.Errorf("%w: %w", refuse("its history cannot be kept"), err)
	}
	for i := range ns.shared {
		ns.shared[i] = ns.sockets.accept(ns, variant(i))
	}
	ns.methods = methodsOf(ns.typ)
	has := func(handler reflect.Type) bool { return ns.typ.Implements(handler) }
	ns.clusterizes = has(reflect.TypeFor[Clusterizer]())
	ns.gateway = has(reflect.TypeFor[Gateway]())
	ns.receives = has(reflect.TypeFor[Receiver]())
	ns.gossips = has(reflect.TypeFor[GossipHandler]())
	ns.onError = has(reflect.TypeFor[ErrorHandler]())
	ns.onClose = has(reflect.TypeFor[CloseHandler]())
	ns.onPresence = has(reflect.TypeFor[PresenceHandler]())
	if ns.onPresence && !ns.presence.on() {
		return refuse("its OnPresence would never be called: its options have no Presence")
	}
	ns.presence.Every = cmp.Or(ns.presence.Every, defaultEvery)
	ns.connects = ns.kind == KindReplica || ns.kind == KindObject && (ns.onError || ns.onClose || ns.presence.on() ||
		has(reflect.TypeFor[OpenHandler]()) || has(reflect.TypeFor[MessageHandler]()))
	ns.handle()
	rt.registering.Lock()
	defer rt.registering.Unlock()
	if rt.host.Class(ns.Name) != nil {
		return refuse("the name is taken")
	}
	record, err := rt.catalog.Register(ns.Name, int(ns.kind))
	if err != nil {
		return fmt.Errorf("%w: %w", refuse("the store refuses it"), err)
	}
	ns.Number, ns.Origin = record.Number, record.Origin
	rt.host.Add(&ns.Class)
	return nil
}

// roles has the roles of the kinds of objects.
var roles = map[Kind]object.Role{KindObject: object.Plain, KindGroup: object.Owner, KindReplica: object.Owned}

// handle sets the functions that run the handlers of the type's life.
func (ns *namespace) handle() {
	if ns.typ.Implements(reflect.TypeFor[Starter]()) {
		ns.OnStart = func(ctx context.Context, v any) error { return v.(Starter).OnStart(ctx) }
	}
	if ns.typ.Implements(reflect.TypeFor[Stopper]()) {
		ns.OnStop = func(ctx context.Context, v any, reason object.StopReason) error {
			return v.(Stopper).OnStop(ctx, StopReason(reason))
		}
	}
	if ns.typ.Implements(reflect.TypeFor[AlarmHandler]()) {
		ns.OnAlarm = func(ctx context.Context, v any, alarm store.Alarm) error {
			return v.(AlarmHandler).OnAlarm(ctx, runningAlarm(alarm))
		}
	}
}

// embedded reports whether base finds the core of a new value. base panics if
// the type embeds a pointer, since that is nil.
func embedded(base func() *core) (found bool) {
	defer func() { _ = recover() }()
	return base() != nil
}

// handlers lists the handlers and the kinds of types that may have them.
var handlers = []nearmiss.Handler[Kind]{
	nearmiss.HandlerOf[Receiver](KindGroup, KindReplica, KindObject),
	nearmiss.HandlerOf[Starter](KindGroup, KindReplica, KindObject),
	nearmiss.HandlerOf[Stopper](KindGroup, KindReplica, KindObject),
	nearmiss.HandlerOf[AlarmHandler](KindGroup, KindReplica, KindObject),
	nearmiss.HandlerOf[Gateway](KindGroup),
	nearmiss.HandlerOf[Clusterizer](KindGroup),
	nearmiss.HandlerOf[OpenHandler](KindObject, KindReplica),
	nearmiss.HandlerOf[MessageHandler](KindObject, KindReplica),
	nearmiss.HandlerOf[CloseHandler](KindObject, KindReplica),
	nearmiss.HandlerOf[ErrorHandler](KindObject, KindReplica),
	nearmiss.HandlerOf[GossipHandler](KindReplica),
	nearmiss.HandlerOf[PresenceHandler](KindObject, KindGroup),
}
