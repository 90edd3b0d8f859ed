package history_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// guests are the clients of a party that speak dog.v1. Two of them are devices
// of one uid.
var guests = []struct {
	uid     string
	options dogtest.DialOptions
}{
	{"ada", dogtest.DialOptions{}},
	{"ada", dogtest.DialOptions{Compress: true}},
	{"bob", dogtest.DialOptions{Compress: true}},
	{"eve", dogtest.DialOptions{OnDemand: true}},
	{"cat", dogtest.DialOptions{OnDemand: true, Compress: true}},
}

// manners are the ways to send a message. "for" and "without" concern ada, who
// has two devices.
var manners = []string{"all", "others", "for", "without", "newest", "transient"}

// A message is "manner speaker number padding", and sent as it is.
type spoken struct {
	manner  string
	speaker string // index of a guest, or "outside"
	number  int
}

func parseSpoken(text string) (m spoken, err error) {
	_, err = fmt.Sscan(text, &m.manner, &m.speaker, &m.number)
	return m, err
}

// concerns reports whether a message is for a client of a uid, which is the
// speaker of the messages of speaker.
func (m spoken) concerns(uid, speaker string) bool {
	switch m.manner {
	case "others":
		return m.speaker != speaker
	case "for":
		return uid == "ada"
	case "without":
		return uid != "ada"
	}
	return true
}

// party is what a story happens to.
type party struct {
	t      *testing.T
	disk   *dogtest.Disk
	kind   string
	on     *fixture.OwnerHooks
	owners *fixture.Owners
	server *dogtest.Server
	guests []*guest
	said   []spoken        // by its number
	plain  *dogtest.Client // of dan: does not speak dog.v1, and is always there
	heard  []string        // by plain
}

// guest is a client with what it has got.
type guest struct {
	*dogtest.V1Client
	away, slow bool
	got        []string
}

func newParty(t *testing.T, s story) *party {
	p := &party{t: t, disk: dogtest.NewDisk(t), kind: "an object", on: sociable()}
	p.on.Hibernate, p.on.History.Durable = s.hibernate, s.durable
	if s.replicas {
		p.kind, p.on.MaxSockets = "a replica", 2
	}
	p.owners = p.newOwners()
	p.server = switched(t, &p.owners)
	p.plain = p.server.Dial("/?u=dan")
	for i, g := range guests {
		c := p.server.DialV1("/?u="+g.uid, dogtest.V1Options{DialOptions: g.options})
		p.guests = append(p.guests, &guest{V1Client: c, slow: guests[i].options.OnDemand})
	}
	return p
}

// sociable is an owner that sends messages as their manners ask, and counts
// them.
func sociable() *fixture.OwnerHooks {
	return &fixture.OwnerHooks{
		History: dog.HistoryOptions{Count: 1 << 20, Bytes: 64 << 20, Age: 2 * time.Hour},
		SocketOptions: dog.SocketOptions{
			Compression: dog.CompressionOn, QueueBytes: 8 << 10, WriteTimeout: 24 * time.Hour, PingInterval: -1,
		},
		Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
			said, err := parseSpoken(m.String())
			if err != nil {
				return err
			}
			if err := o.Storage().Put("counted", nil); err != nil {
				return err
			}
			switch said.manner {
			case "others":
				return s.Broadcast(m)
			case "for":
				_, err = fixture.Whisper(ctx, o, "ada", m)
				return err
			case "without":
				return o.Broadcast(m, dog.ExceptUID("ada"))
			case "newest":
				return o.Broadcast(m, dog.Coalesce(said.speaker))
			case "transient":
				return o.Broadcast(m, dog.Transient)
			}
			return o.Broadcast(m)
		},
	}
}

func (p *party) newOwners() *fixture.Owners {
	options := dog.Options{Store: p.disk, LingerFor: -1, Logger: slog.New(slog.DiscardHandler)}
	return fixture.NewOwners(p.t, p.kind, options, p.on)
}

// play lets the steps happen, brings everybody back, and compares what they
// have got with the history.
func (p *party) play(steps []step) error {
	p.t.Cleanup(func() {
		if p.t.Failed() { // in a method of dogtest
			p.t.Logf("%s %+v: %v", p.kind, p.on.History, steps)
		}
	})
	for _, s := range steps {
		if err := p.do(s); err != nil {
			return err
		}
		if s.settle {
			synctest.Wait()
		}
	}
	for i := range p.guests {
		if err := p.comeBack(i); err != nil {
			return err
		}
	}
	synctest.Wait()
	end := p.mark()
	for _, g := range p.guests {
		g.read(end, len(p.said))
	}
	p.listen()
	errs := []error{p.check("dan", "nobody", p.heard)}
	for i, g := range p.guests {
		errs = append(errs, p.check(guests[i].uid, strconv.Itoa(i), g.got))
	}
	return errors.Join(append(errs, p.owners.Runtime.Shutdown(p.t.Context()))...)
}

func (p *party) do(s step) error {
	who := s.who % len(p.guests)
	g := p.guests[who]
	switch s.kind {
	case "speak":
		for range s.n {
			g.Send(p.say(manners[s.what%len(manners)], strconv.Itoa(who), ""))
		}
	case "speak from outside":
		return p.owners.Broadcast(p.t.Context(), p.say("all", "outside", ""))
	case "flood":
		for range 20 * s.n {
			text := p.say("all", "outside", strings.Repeat("x", 2000))
			if err := p.owners.Broadcast(p.t.Context(), text); err != nil {
				return err
			}
		}
	case "read":
		if !g.away {
			g.read(p.mark(), s.n*10)
		}
	case "vanish":
		g.Vanish()
		g.away = true
	case "come back":
		return p.comeBack(who)
	case "drain":
		return p.drain(s.who)
	case "time passes":
		time.Sleep(s.pause)
	case "restart":
		p.listen()
		if err := p.owners.Runtime.Shutdown(p.t.Context()); err != nil {
			return err
		}
		p.owners = p.newOwners()
		p.plain = p.server.Dial("/?u=dan")
		for _, g := range p.guests {
			g.Vanish()
			g.away = true
		}
	}
	return nil
}

// say returns the next message of a speaker.
func (p *party) say(manner, speaker, padding string) string {
	m := spoken{manner, speaker, len(p.said)}
	p.said = append(p.said, m)
	return strings.Join([]string{m.manner, m.speaker, strconv.Itoa(m.number), padding}, " ")
}

// mark sends a message to all and returns it, so that there is one to read.
func (p *party) mark() string {
	text := p.say("all", "outside", "")
	if err := p.owners.Broadcast(p.t.Context(), text); err != nil {
		p.t.Errorf("mark: %v", err)
	}
	return text
}

// read takes up to n messages, the last of which is mark.
func (g *guest) read(mark string, n int) {
	for range n {
		g.got = append(g.got, g.Receive().String())
		if g.got[len(g.got)-1] == mark {
			return
		}
	}
}

func (p *party) comeBack(i int) error {
	g := p.guests[i]
	if !g.away {
		return nil
	}
	g.V1Client, g.away = g.Again(), false
	if g.Hello.Gap != "" {
		return fmt.Errorf("guest %d has a gap by %s", i, g.Hello.Gap)
	}
	return nil
}

func (p *party) drain(n int) error {
	if p.owners.Drain == nil {
		return nil
	}
	for r := range p.owners.Replicas() {
		if n--; n < 0 {
			if err := p.owners.Drain(p.t.Context(), r.ID); !errors.Is(err, dog.ErrReplicaGone) {
				return err
			}
		}
	}
	return nil
}

// listen takes what the plain client has got, after everything has come to
// rest.
func (p *party) listen() {
	synctest.Wait()
	for _, m := range p.plain.Received() {
		p.heard = append(p.heard, m.String())
	}
}

// check compares what a client has got with what has been said, and with the
// history of its uid. The client may lack messages that are not kept, since it
// was away or behind, and those that have been replaced.
func (p *party) check(uid, speaker string, got []string) error {
	page, err := p.owners.History(uid).Read("", 0)
	if err != nil {
		return err
	}
	var missed, twice []spoken
	times := make([]int, len(p.said))
	latest := map[[2]string]int{} // number by manner and speaker
	var order, want []int         // numbers of the messages that nothing replaces
	for _, text := range got {
		m, err := parseSpoken(text)
		if err != nil {
			return err
		}
		if !m.concerns(uid, speaker) {
			return fmt.Errorf("%s got %v, which is for others", uid, m)
		}
		if times[m.number]++; times[m.number] > 1 {
			twice = append(twice, m)
		}
		key := [2]string{m.manner, m.speaker}
		if last, found := latest[key]; found && last > m.number {
			return fmt.Errorf("%s got %v after %d", uid, m, last)
		}
		latest[key] = m.number
		if m.stays() {
			order = append(order, m.number)
		}
	}
	for _, m := range p.said {
		if m.concerns(uid, speaker) && times[m.number] == 0 && m.stays() {
			missed = append(missed, m)
		}
	}
	for _, kept := range page.Messages {
		m, err := parseSpoken(kept.String())
		if err != nil {
			return err
		}
		if m.concerns(uid, speaker) && m.stays() {
			want = append(want, m.number)
		}
		if m.manner == "newest" && latest[[2]string{m.manner, m.speaker}] != m.number {
			missed = append(missed, m)
		}
	}
	switch {
	case len(missed)+len(twice) > 0:
		return fmt.Errorf("%s %s missed %v, and got twice %v", uid, speaker, missed, twice)
	case !slices.Equal(want, order):
		return fmt.Errorf("%s %s got %v, in the history is %v", uid, speaker, order, want)
	}
	return nil
}

// stays reports whether the message is kept and nothing replaces it.
func (m spoken) stays() bool { return m.manner != "newest" && m.manner != "transient" }
