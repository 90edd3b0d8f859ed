// Package dog provides stateful objects for real-time services: chat rooms,
// live documents, game lobbies, fleets of devices, agents. Each object has a
// name, its own WebSockets, its own storage (keys and SQL) and its own alarms,
// and handles one event at a time. When one object is not enough for its
// clients, a group spreads them over replicas. Objects live in your own
// [net/http] server. There is nothing else to start.
//
// # A tour
//
// A type that embeds [Object] is a durable object: a document, a device, a
// game, the tabs of one user. There is one object per name. This one sends each
// client's messages to the other clients:
//
//	type Doc struct{ dog.Object }
//
//	func (d *Doc) OnMessage(ctx context.Context, s *dog.Socket, m dog.Message) error {
//		return s.Broadcast(m)
//	}
//
// Register the type once with a [Runtime], then address its objects by name:
//
//	rt, err := dog.New(dog.Options{})
//	docs, err := dog.RegisterObject[Doc](rt, "doc", nil)
//	http.HandleFunc("/{name}", func(w http.ResponseWriter, r *http.Request) {
//		docs.Named(r.PathValue("name")).WithUID(r.FormValue("user")).ServeHTTP(w, r)
//	})
//
// A type may have these handlers, each with an interface of its own:
// [OpenHandler], [MessageHandler], [CloseHandler], [ErrorHandler],
// [GossipHandler], [Starter], [Stopper], [AlarmHandler], [Receiver], [Gateway],
// [Clusterizer], [PresenceHandler]. A type has only the methods it needs.
// Registration refuses a type with a method that is nearly a handler, such as
// OnMesage.
//
// Objects store data and call each other:
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
// A [Stub] refers to an object, whether or not the object is in memory. Get a
// stub from a name, from an [ID], or for a new object ([Namespace.Named],
// [Namespace.Parse], [Namespace.New]). The first event starts the object.
// [Call] runs a method of the object as an event, and the compiler checks the
// argument and the result. A stub is an [http.Handler], and an
// [http.RoundTripper] for requests from object to object. Objects of different
// types that need each other can share a struct of the program: the New
// function of their options passes it to them. Inside an object, [Self],
// [NamespaceOf] and [GroupOf] return its own stub, namespace and group. Package
// shard spreads keys over a fixed number of objects.
//
// # Groups
//
// Use a [Group] for more clients than one object should hold, such as a large
// room. It spreads its clients over [Replica] objects with at most
// GroupOptions.Limit of them each. Replicas are shards, not copies.
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
// The receiver of a method determines who gets a message:
//
//   - s.Send sends to one socket. s.Emit and s.Broadcast send to the others:
//     Emit to those of the same object, Broadcast to those of the whole group
//     if there is one. [ExceptUID] leaves out all sockets of a uid.
//   - o.Broadcast sends to all sockets of an object, r.Emit to all sockets of
//     one replica, r.Broadcast to all sockets of the group.
//   - Whisper sends to all sockets of one uid, wherever they are.
//   - Gossip asks the replicas themselves and returns their replies.
//
// # Histories
//
// With ObjectOptions.History or GroupOptions.History, an object or a group
// keeps the messages that it has sent to its sockets for a while. A client that
// speaks the subprotocol dog.v1, such as dog.js and package client, gets the
// messages that it has missed, once and in order, or a gap with its reason. See
// [HistoryOptions] and [Socket.Resume]. A slow client reads from the history
// ([CatchUp]). The messages of such a client take effect once, even if it sends
// them again after a crash: the number of a message is stored in the
// transaction of its handler. [Stub.History] reads a history in Go and over
// HTTP.
//
// Histories are in memory, and [Runtime.Shutdown] stores them for the next
// process. A client that was connected before a crash gets a gap, unless the
// history is Durable: then each message is stored in the transaction of the
// turn that sends it.
//
// # Presence
//
// With GroupOptions.Presence or ObjectOptions.Presence, a group or an object
// knows which uids have sockets in it, on any replica and from any number of
// devices. See [Presence]:
//
//	func (s *Square) OnPresence(ctx context.Context, change dog.PresenceChange) error {
//		return s.Broadcast(change)
//	}
//
// A newcomer gets the list of the members ([Object.Members], [Group.Members],
// [Stub.Members]) and then the changes. The list may already include a change
// that follows, so apply a change as a set of members to add and a set to
// remove.
//
//   - OnPresence gets a uid once when it has joined, and once when it has left.
//     A uid leaves when it has had no socket for Presence.Grace, so a reconnect
//     within that time is no change.
//   - The changes within Presence.Every are delivered together. A uid that has
//     joined and left in that time, or left and joined, is not among them. So a
//     storm of reconnects costs four messages a second, not one for each client
//     and receiver.
//   - A change is delivered again until OnPresence has succeeded, before the
//     next one, with the same Seq.
//   - A planned restart is like a reconnect: the list is stored, and a member
//     that comes back in time has not left. After a crash the list is empty,
//     and OnPresence does not get the earlier members as Left, unless
//     Presence.Durable is set.
//
// # Objects in memory
//
// [Storage] holds keys with values, a SQLite database ([Storage.SQL]), and
// alarms ([Storage.Alarms]), which wake the object at a set time. With
// Options.Store it is durable. Without, it lasts as long as the process and has
// no SQL. Package disk provides stores:
//
//	rt, err := dog.New(dog.Options{Store: disk.At("data")})
//
// [Runtime.Backup] copies a store while it is in use. [Stub.Export] writes one
// object to a SQLite file. A [Migration] lists the types that a release has
// renamed, merged or removed.
//
// An idle object is evicted from memory. Its next event starts it again,
// through OnStart. An object with open sockets or a pending [Timer] stays in
// memory. If its type hibernates (ObjectOptions.Hibernate), sockets do not keep
// it there. A [Stub] works in either case. Memory is a cache: store state that
// must survive, or attach it to a socket. After a restart, a named replica
// finds the data stored under its name. A replica without a name takes over the
// data of an earlier replica without a name, in no particular order.
//
// [Runtime.Shutdown] ends everything in an orderly way. [Runtime.Stats],
// [Trace] and a logger show what happens. Package dogtest tests a service
// without ports and without waiting.
//
// # Turns
//
// An object runs one handler at a time. The same is true of groups and
// replicas, which are objects too. The running handler holds the object's turn.
// Handlers therefore need no locks for the fields of their type, as long as no
// other goroutine uses them.
//
// A handler gives up the turn only while it waits, and signatures show where:
// only a method that takes a context may give up the turn. Functions of this
// package also take a context to find out which object they run in. So Send,
// Emit, Broadcast, Close, Sockets, Connect, After and all of Storage except
// Sync keep the turn. Gossip, a Whisper or Disconnect that takes a context,
// Identify, Call and a request to another stub give it up, and other events of
// the object run in the meantime. Fields that a handler has read before such a
// call may have changed after it. (Reading a long request body and writing a
// long response wait for the client and keep the turn: see [Receiver].) [Await]
// gives up the turn for waits of your own. [BlockConcurrencyWhile] keeps it
// across waits. [Go] starts another event.
//
// Because waiting gives up the turn, objects may call each other in cycles. A
// cycle of calls can deadlock only where a turn is kept. The call that closes
// such a cycle fails at once with [ErrDeadlock].
//
// A handler's context belongs to the goroutine that runs the handler. After the
// handler has returned, using the context fails with [ErrOutsideTurn]. Using it
// in another goroutine while the handler runs breaks the exclusion, unless the
// handler waits for that goroutine in Await. [Options].CheckTurns, which
// package dogtest sets, detects this.
//
// A panic in a handler resets its object, unless it is a panic with
// [http.ErrAbortHandler] in Receive. The panic is logged with its stack, the
// object's memory is dropped, the handler's writes since it last waited are
// undone, the object's sockets are closed with 1011, calls in progress fail
// with [ErrReset], and the next event starts the object again. Nothing else is
// affected. [Object.Abort] and a failed commit have the same effect. An error
// that a handler returns is logged or returned to the caller. It changes
// nothing else, except that it undoes the handler's writes if RollbackOnError
// is set. OnStart, OnOpen, OnAlarm, OnPresence, Identify and Clusterize
// document further effects of their errors.
//
// # Durability
//
//   - A handler's writes up to its end, or up to the next point where it waits,
//     are kept as a whole or not at all: keys, SQL and alarms.
//   - Once an object has stored something, everything it sends is held until
//     that write is durable: messages, responses, results of calls, calls and
//     requests to other objects, gossip, and the work it does in [Await].
//     Output leaves in the order in which it was sent. The object keeps running
//     while its output is held.
//   - Output sent while all of the object's writes are durable leaves at once:
//     before the first write of a turn, for example.
//   - The same rule applies to closing sockets and draining replicas. A
//     function of [Go] starts without waiting for the disk, and what it sends
//     is held like everything else. The rule does not apply to the 1011 with
//     which a reset closes sockets, to hooks of [Trace] and to the log.
//   - Output counts as the object's when it uses the context of the object's
//     handler, its sockets or its own methods. Output by other means leaves at
//     once: with a context that the handler made itself, through a socket or a
//     Go pointer that belongs to another object, or in a goroutine that the
//     handler starts outside of [Await] and Go. So pass the handler's context,
//     and do not pass sockets between objects: call the object instead.
//     [Options].CheckTurns detects all but the last (ErrPastGate).
//   - Messages and responses that are held because the disk is slow are
//     bounded, for each recipient: see [ErrHeldBack] and [Stats].HeldBytes.
//   - If a write cannot be made durable, the object is reset, and output sent
//     after that write is dropped.
//   - So if a client has been sent the effect of a write, that write is still
//     there after the process or the machine dies, as long as the disk keeps
//     the data it has acknowledged. A write whose effect has not been sent may
//     or may not be there.
//
// # Ordering
//
//   - Turns are taken in the order of arrival. Events that wait when their
//     object is reset move to its next life in any order. Operations of one
//     goroutine on a stub happen in the order in which the goroutine calls
//     them.
//   - Events of one socket do not overlap: OnOpen, then OnMessage for each
//     message in the order received, then OnError if the connection failed,
//     then OnClose, exactly once and last. Each starts after the previous one
//     has returned.
//   - A socket has joined its object before OnOpen runs. It has left the object
//     and released its place before OnClose runs.
//   - Messages from one handler or goroutine reach each receiver in the order
//     sent, in any mix of Send, Emit, Broadcast and Whisper. Messages sent
//     before a socket ends arrive before the close frame, whichever side
//     closes, even if the client breaks the protocol or ends only its side of
//     the stream. The client has SocketOptions.CloseTimeout to receive them.
//     Messages that the object's gate still holds when the client ends the
//     connection first get the same time to become durable.
//   - All sockets of a replica get messages to the whole replica (Emit,
//     Broadcast) in the same order, whatever their sender. There is no such
//     order between replicas.
//   - A new replica belongs to its group before it serves its first request.
//
// # Errors
//
// Returned errors may wrap the documented ones: use [errors.Is] and
// [errors.As]. Many functions return these errors, and do not repeat them:
//
//   - A function that takes a context and may wait: the cause of the context's
//     end. In a handler also ErrOutsideTurn, ErrInTransaction, and ErrReset if
//     the handler's earlier writes could not be made durable.
//   - A function for a uid, or for an object with a name: [ErrInvalidName].
//   - A function that sends a message: the errors of [Encode], [ErrHeldBack],
//     and, if a Durable history keeps the message, those of [Storage].
//   - A method of an object that has been reset: a [ResetError]. A call from
//     outside of handlers once the runtime shuts down: [ErrShutdown].
//   - A value that no runtime has made: a [UsageError].
//
// # Limits
//
// No replica ever has more than Limit places taken. A reservation made by
// Identify takes a place until it is used, released or expired. A request takes
// one until it is answered. A socket takes one until both sides have closed it
// or it is given up.
//
// Everything is bounded by default: the size of messages, the queue of a slow
// client, the time of writes and of the closing handshake, and the silence of a
// client. See [Options] and [SocketOptions].
package dog
