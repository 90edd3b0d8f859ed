// Package dog is for stateful real-time services: chat rooms, live documents,
// game lobbies, fleets of devices, agents. State lives in objects of yours.
// Each has a name, its own WebSockets, its own storage (keys and SQL) and its
// own alarms, and handles one event at a time. When one object is not enough
// for its clients, a group spreads them over replicas. It lives in your own
// [net/http] server; there is nothing else to start.
//
// # A tour
//
// A type that embeds [Object] is a durable object: a document, a device, a
// game, one user's tabs. There are as many as there are names. This one sends
// what a client says to the others:
//
//	type Doc struct{ dog.Object }
//
//	func (d *Doc) OnMessage(ctx context.Context, s *dog.Socket, m dog.Message) error {
//		return s.Broadcast(m)
//	}
//
// It is registered once with a [Runtime], and addressed by name:
//
//	rt, err := dog.New(dog.Options{})
//	docs, err := dog.RegisterObject[Doc](rt, "doc", nil)
//	http.HandleFunc("/{name}", func(w http.ResponseWriter, r *http.Request) {
//		docs.Named(r.PathValue("name")).WithUID(r.FormValue("user")).ServeHTTP(w, r)
//	})
//
// What a type may handle is listed in handler.go, one interface for each
// handler: [OpenHandler], [MessageHandler], [CloseHandler], [ErrorHandler],
// [GossipHandler], [Starter], [Stopper], [AlarmHandler], [Receiver], [Gateway],
// [Clusterizer]. A type has the methods it needs; one that is nearly a handler,
// such as OnMesage, is refused when the type is registered.
//
// Objects store things and call each other:
//
//	type Counter struct{ dog.Object }
//
//	func (c *Counter) Add(ctx context.Context, n int) (int, error) {
//		return dog.Update(c.Storage(), "n", func(old int) (int, error) { return old + n, nil })
//	}
//
//	counters, err := dog.RegisterObject[Counter](rt, "counter", nil)
//	total, err := dog.Call(ctx, counters.Named("visits"), (*Counter).Add, 1)
//
// A [Stub] leads to an object, in memory or not: from its name, its [ID], or to
// a new one ([Namespace.Named], [Namespace.Parse], [Namespace.New]); the first
// event starts the object. [Call] runs a method of it as an event, with
// argument and result checked by the compiler. A stub is an [http.Handler], and
// an [http.RoundTripper] for requests from object to object. Objects of
// different types that need each other share a struct of the program, which New
// of their options hands over; [Self], [NamespaceOf] and [GroupOf] lead to an
// object's own. Package shard spreads keys over a fixed number of objects.
//
// # Groups
//
// A crowd that one object should not hold, such as a large room, is a [Group].
// It spreads its clients over [Replica] objects with at most GroupOptions.Limit
// of them each. Replicas are shards, not copies.
//
//	rooms, err := dog.RegisterReplica[Room](rt, "room", nil)
//	lobbies, err := dog.RegisterGroup(rt, "lobby", rooms, &dog.GroupOptions[Lobby]{Limit: 50})
//
//	room, err := lobbies.Named("general").Identify(r.Context(), user) // picks the replica for a uid
//	if err != nil {
//		dog.WriteError(w, err)
//		return
//	}
//	room.ServeHTTP(w, r)
//
// The receiver of a method says who gets a message:
//
//   - s.Send goes to one socket; s.Emit and s.Broadcast go to the others, of
//     the same object and of the whole group; [ExceptUID] leaves out all
//     sockets of a uid;
//   - o.Broadcast goes to all sockets of an object; r.Emit to those of one
//     replica, r.Broadcast to those of the group;
//   - Whisper goes to those of one uid, wherever they are;
//   - Gossip asks the replicas themselves and returns their answers.
//
// # Objects in memory
//
// [Storage] keeps keys with values, a SQLite database ([Storage.SQL]), and
// alarms ([Storage.Alarms]), which wake the object at a time. With
// Options.Store it is durable; without, it lives as long as the process, and
// has no SQL. Package disk has stores:
//
//	rt, err := dog.New(dog.Options{Store: disk.At("data")})
//
// [Runtime.Backup] copies a store while it is used, [Stub.Export] writes one
// object to a SQLite file, and a [Migration] says which types a release has
// renamed, merged or given up.
//
// An idle object leaves memory and comes back with its next event, through
// OnStart. One with open sockets or a pending [Timer] stays; if its type
// hibernates (ObjectOptions.Hibernate), sockets do not keep it. A [Stub] leads
// to it in either case. Memory is a cache: what must stay has to be stored, or
// attached to a socket. After a restart a named replica finds what it has
// stored under its name; replicas without names take up what such ones have
// stored before, whichever is made first.
//
// [Runtime.Shutdown] ends everything in good order. [Runtime.Stats], [Trace]
// and a logger show what happens. Package dogtest tests a service without ports
// and without waiting.
//
// # Turns
//
// An object (a group and a replica are ones) runs one handler at a time: it has
// the object's turn. Handlers therefore need no locks for the fields of their
// type, as long as nobody else touches them.
//
// A handler gives the turn up only while it waits, and signatures show where: a
// method that takes a context may give up the turn, none other does; functions
// of this package take one to know the object. So Send, Emit, Broadcast, Close,
// Sockets, Connect, After and all of Storage but Sync keep the turn; Gossip, a
// Whisper and a Disconnect that take a context, Identify, Call and a request to
// another stub give it up, and other events of the object run meanwhile. What a
// handler has read from its fields before such a call may have changed after
// it. (Reading a long request body and writing a long answer wait for the
// client and keep the turn: see [Receiver].) [Await] gives the turn up for
// waits of your own, [BlockConcurrencyWhile] keeps it across waits, [Go] starts
// a further event.
//
// Because waiting gives the turn up, objects may call each other in circles.
// Only where a turn is kept can a circle of calls never end; the call that
// closes it fails at once with [ErrDeadlock].
//
// A handler's context belongs to the goroutine that runs the handler. After the
// handler has returned it is worthless ([ErrOutsideTurn]). Using it in another
// goroutine while the handler runs breaks the exclusion, unless the handler
// waits for that goroutine in Await; [Options].CheckTurns, which package
// dogtest sets, finds such uses.
//
// A panic in a handler, other than with [http.ErrAbortHandler] in Receive,
// resets its object: it is logged with its stack, the object's memory is
// dropped, what the handler stored since it last waited is undone, its sockets
// are closed with 1011, calls under way fail with [ErrReset], and the next
// event starts the object anew. Nothing else is affected. So do [Object.Abort]
// and a commit that fails. An error that a handler returns is logged or handed
// to the caller and changes nothing else, except from OnStart, OnOpen, OnAlarm
// and Clusterize, which say what it does.
//
// # Durability
//
//   - What a handler stores up to its end, or to the next place where it waits,
//     is kept as a whole or not at all: keys, SQL and alarms.
//   - Nothing that an object says after it has stored something leaves before
//     that is durable: messages, answers, results of calls, calls and requests
//     to others, gossip, and what it does in [Await]. It leaves in the order in
//     which it was said. The object goes on meanwhile.
//   - What it says while all that it has stored is durable leaves at once:
//     before it stores anything in a turn, say.
//   - Sockets are closed, replicas drained and functions of [Go] begun under
//     the same rule. The 1011 that a reset closes sockets with, hooks of
//     [Trace] and the log wait for nothing.
//   - An object speaks by the context of its handler, its sockets and its own
//     methods. What a handler says by other means leaves at once: with a
//     context of its own making, by a socket or a Go pointer that belongs to
//     another object, or in a goroutine that it starts outside of [Await] and
//     Go. So pass the handler's context, and do not pass sockets between
//     objects: call the object instead. [Options].CheckTurns finds all but the
//     last (ErrPastGate).
//   - What waits for a disk that is slow is bounded: [ErrHeldBack], and
//     [Stats].HeldBytes.
//   - When it turns out that something cannot be made durable, the object is
//     reset, and what it said after is never heard.
//   - So a client that was told of something finds it again, whenever the
//     process or the machine dies, as long as the disk keeps what it has
//     acknowledged. What nobody was told of may be there or not.
//
// # Ordering
//
//   - Turns are taken in the order of arrival; events that wait when their
//     object is reset go on to its next life in any order. What one goroutine
//     does through a stub happens in the order in which it does it.
//   - Events of one socket do not overlap: OnOpen, then OnMessage for each
//     message in the order received, each starting when the one before has
//     returned, then OnError if the connection failed, then OnClose, exactly
//     once and last.
//   - A socket has joined its object before OnOpen runs and has left it, with
//     its place, before OnClose runs.
//   - Messages from one handler or goroutine reach each receiver in the order
//     sent, by whatever of Send, Emit, Broadcast and Whisper. What was sent
//     before a socket ends arrives before the close frame, whoever closes it,
//     also when the client breaks the protocol or ends its side of the stream
//     alone; it has SocketOptions.CloseTimeout for that. What its object's gate
//     holds back when the client ends the connection gets as long to become
//     durable before.
//   - All sockets of a replica get what is sent to the replica as a whole
//     (Emit, Broadcast) in the same order, whoever sends it. There is no such
//     order between replicas.
//   - A new replica belongs to its group before it serves its first request.
//
// # Limits
//
// No replica ever has more than Limit places taken. A place is taken by a
// reservation of Identify until it is used, released or expired, by a request
// until it is answered, by a socket until both sides have closed it or it is
// given up.
//
// Everything is bounded by default: the size of messages, what waits for a slow
// client, the time of writes and of the closing handshake, the silence of a
// client. See [Options] and [SocketOptions].
package dog
