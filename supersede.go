package dog

import "slices"

// Supersede closes the older sockets of this socket's uid, as [Socket.Close]
// does, with the code 4001 and the reason "replaced". They may be in the
// object, or in the whole group if the object is a replica. A socket is older
// if its Connect was called earlier, so of several that call Supersede, one
// stays. OnOpen calls it if a client should have one connection:
//
//	func (r *Room) OnOpen(ctx context.Context, s *dog.Socket) error { return s.Supersede() }
//
// A client that speaks dog.v1 does not come back after 4001, and others should
// not either: two pages of one user would replace each other forever. Supersede
// keeps the turn. It returns a [UsageError] if the socket has no uid.
func (s *Socket) Supersede() error {
	o, err := s.speaks("Socket.Supersede")
	if err != nil {
		return err
	}
	if s.uid == "" {
		return misuse("Socket.Supersede", "the socket has no uid")
	}
	if err := o.CheckGate(); err != nil {
		return err
	}
	for _, older := range s.older() {
		if err := older.closeAfter(o, closeReplaced, "replaced"); err != nil {
			return err
		}
	}
	return nil
}

// older returns the sockets of the same uid that connected before this one.
func (s *Socket) older() []*Socket {
	var all []*Socket // in the order in which they connected
	if m := s.obj.replica; m != nil {
		all = m.group.socketsOf(s.uid)
	} else {
		all = s.obj.socketsOf(s.uid)
		slices.Reverse(all)
	}
	return all[:max(slices.Index(all, s), 0)]
}
