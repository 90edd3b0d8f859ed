package replog_test

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/replog"
	"github.com/godurable/dog/internal/store"
)

var errLost = errors.New("the connection is lost")

// A link is a log as one node reaches it. It handles appends one after another,
// and a test decides what becomes of each.
type link struct {
	replog.Log

	// think returns how long Last and Read take, before and after they look. If
	// nil, no time.
	think func() time.Duration

	// fate returns what becomes of an append. nil: it is handled, and answered.
	fate func(record []byte) fate

	mu      sync.Mutex
	down    bool          // guarded by mu: all is lost
	full    bool          // guarded by mu: the log takes no more
	appends int           // guarded by mu
	turn    chan struct{} // guarded by mu: closed when the append before is handled
}

type fate struct {
	delay    time.Duration // before the log gets it
	lost     bool          // the log does not get it
	refused  error         // the log's answer instead of taking it
	unheard  bool          // the answer is lost
	answer   time.Duration // before the answer arrives
	copyLate time.Duration // a second copy arrives so much later; 0: none does
}

func (l *link) isDown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

func (l *link) set(down, full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down, l.full = down, full
}

func (l *link) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.appends
}

// Append implements replog.Log.
func (l *link) Append(follows replog.Mark, record []byte, done func(error)) {
	l.mu.Lock()
	l.appends++
	before, next := l.turn, make(chan struct{})
	l.turn = next
	full := l.full
	l.mu.Unlock()
	var f fate
	if l.fate != nil {
		f = l.fate(record)
	}
	var once sync.Once
	answered := done
	done = func(err error) { once.Do(func() { answered(err) }) }
	go func() {
		defer close(next)
		if before != nil {
			<-before
		}
		time.Sleep(f.delay)
		if f.lost || l.isDown() {
			return
		}
		answer := func(err error) {
			if !f.unheard && !l.isDown() {
				go func() {
					time.Sleep(f.answer)
					done(err)
				}()
			}
		}
		if full {
			f.refused = store.ErrFull
		}
		if f.refused != nil {
			answer(f.refused)
			return
		}
		l.Log.Append(follows, record, answer)
		if f.copyLate > 0 {
			go func() {
				time.Sleep(f.copyLate)
				l.Log.Append(follows, record, func(err error) { go done(err) })
			}()
		}
	}()
}

// Last implements replog.Log.
func (l *link) Last(ctx context.Context) (uint64, []byte, error) {
	if l.isDown() {
		<-ctx.Done()
		return 0, nil, ctx.Err()
	}
	l.wait()
	defer l.wait()
	return l.Log.Last(ctx)
}

func (l *link) wait() {
	if l.think != nil {
		time.Sleep(l.think())
	}
}

// Read implements replog.Log.
func (l *link) Read(ctx context.Context, from uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		l.wait()
		defer l.wait()
		for record, err := range l.Log.Read(ctx, from) {
			if l.isDown() {
				record, err = nil, errLost
			}
			if !yield(record, err) || err != nil {
				return
			}
		}
	}
}

// chance returns a fate that is bad now and then.
func chance(random *rand.Rand, mu *sync.Mutex) func([]byte) fate {
	return func([]byte) fate {
		mu.Lock()
		defer mu.Unlock()
		some := func() time.Duration { return time.Duration(random.IntN(2000)) * time.Millisecond }
		f := fate{delay: time.Duration(random.IntN(5)) * time.Millisecond}
		switch random.IntN(12) {
		case 0:
			f.lost = true
		case 1:
			f.unheard = true
		case 2:
			f.answer = some()
		case 3:
			f.delay = some()
		case 4:
			f.copyLate = some()
		}
		return f
	}
}

// thought returns a duration below 300 ms, often 0.
func thought(random *rand.Rand, mu *sync.Mutex) func() time.Duration {
	return func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(max(0, random.IntN(400)-100)) * time.Millisecond
	}
}

// open returns the state that a local engine has.
func open(t require.TestingT, local store.Engine) *replog.State {
	s, err := replog.Open(local, []byte("p"))
	require.NoError(t, err)
	return s
}

// own claims a log for a local engine.
func own(t require.TestingT, local store.Engine, log replog.Log, id string, o replog.Options) *replog.Engine {
	s := open(t, local)
	require.NoError(t, s.Follow(context.Background(), log))
	e, err := s.Claim(context.Background(), log, []byte(id), o)
	require.NoError(t, err)
	return e
}

// outcome returns the channel that gets the outcome of a commit.
func outcome(e store.Engine, commit uint64) <-chan error {
	c := make(chan error, 1)
	e.OnDurable(commit, func(err error) { c <- err })
	return c
}

// contents returns what a local engine has, the position included.
func contents(t require.TestingT, e store.Engine) map[string]string {
	all := map[string]string{}
	for p, err := range e.Scan(nil, nil, false) {
		require.NoError(t, err)
		all[string(p.Key)] = string(p.Value)
	}
	return all
}

// followed returns what a new follower of a log has.
func followed(t require.TestingT, log replog.Log) map[string]string {
	local := store.NewMemory()
	require.NoError(t, open(t, local).Follow(context.Background(), log))
	return contents(t, local)
}
