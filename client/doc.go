// Package client connects Go programs to the objects and groups of package dog,
// by the subprotocol dog.v1. A [Client] stays connected: when the connection
// breaks it reconnects, receives the messages that it has missed, and sends
// unacknowledged messages again, so that each message takes effect once.
//
//	c, err := client.New("wss://example.com/rooms/general", client.Options{})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	for event, err := range c.Events(ctx) {
//		if err != nil {
//			return err
//		}
//		switch e := event.(type) {
//		case client.Message:
//			handle(e.Data)
//		case client.Gap:
//			reload()
//		}
//	}
//
// The client speaks WebSocket only. Unlike dog.js it has no fall-back to
// server-sent events and POST, which is for browsers behind proxies that block
// WebSockets.
//
// # What a client receives
//
// A client receives each message once and in order, or a [Gap] in place of
// messages that the server no longer has. The first event of a new client is
// usually a Gap with the reason [First]. So a program is up to date if it loads
// the state of the object at each Gap and applies the messages that follow.
//
// To continue after a restart of the program, keep the position by
// [Options].SavePosition and pass it as Options.After. The position is that of
// the last event that the program has handled, so after a crash one event may
// be received twice: the one that was being handled.
//
// An object without a history has no positions. Messages sent while the client
// is not connected are lost, without a Gap: use [Options].OnState to notice a
// new connection.
//
// # What a client sends
//
// [Client.Send] returns when the server has handled the message and the
// handler's writes are durable. Messages wait in a bounded queue while there is
// no connection. Send returns an error when the queue is full, or when a
// message could not be sent for [Options].MaxAge. A message whose Send has
// failed never leaves the client later. If it may have left before, the error
// is an [ErrUncertain].
//
// # Commands
//
// A device has [Options].OnCommand, which carries out the commands that the
// server has queued for it (package outbox), one at a time and in their order.
// A command may arrive again when its reply was lost, so a device whose program
// may end at any time stores the last [CommandID] together with the effect of
// the command: see Options.LastCommand. A device that only carries out commands
// need not call Receive.
//
// # When a client gives up
//
// A client reconnects until [Client.Close] or until the server refuses it: by
// the status 400, 401, 403 or 404, or by a close code from 4000 to 4099. Then
// Send and Receive return a [RefusedError]. Before each attempt the client
// waits for a random time: up to half a second after the first failure, and up
// to twice as long after each further one, but no longer than 30 seconds. A
// server can ask for another time, by Retry-After or when it shuts down. The
// code 4001 with the reason "replaced" means that a newer connection of the
// same user has taken over (dog.Socket.Supersede).
package client
