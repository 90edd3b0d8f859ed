package outbox_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/client"
	"github.com/godurable/dog/outbox"
)

// Lamp is the object of a lamp.
type Lamp struct {
	dog.Object
	Commands outbox.Queue
}

// OnStart binds the queue to the object.
func (l *Lamp) OnStart(context.Context) error { return l.Commands.Bind(&l.Object, outbox.Policy{}) }

// OnOpen takes each client to be the lamp: the program has checked that before.
func (l *Lamp) OnOpen(_ context.Context, s *dog.Socket) error { return l.Commands.Attach(s) }

// OnAlarm lets commands expire.
func (l *Lamp) OnAlarm(ctx context.Context, a dog.Alarm) error { return l.Commands.OnAlarm(ctx, a) }

// Dim queues the newest brightness, in the place of one that still waits.
func (l *Lamp) Dim(_ context.Context, percent int) (outbox.Outcome, error) {
	return l.Commands.Put(map[string]int{"dim": percent}, outbox.Replace("brightness"), outbox.TTL(time.Hour))
}

// Watts asks the lamp.
func (l *Lamp) Watts(ctx context.Context) (float64, error) {
	return outbox.Ask[float64](ctx, &l.Commands, "watts?")
}

// serve returns the lamps of a runtime, and the address of one of them.
func serve() (lamps *dog.Namespace[Lamp], address string, stop func()) {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	lamps, err = dog.RegisterObject[Lamp](rt, "lamp", nil)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lamps.Named("desk").WithUID("lamp").ServeHTTP(w, r)
	}))
	return lamps, server.URL, func() {
		_ = rt.Shutdown(context.Background())
		server.Close()
	}
}

// Commands wait until the lamp comes, and the newest brightness takes the place
// of the others.
func ExampleQueue() {
	lamps, address, stop := serve()
	defer stop()
	for _, percent := range []int{80, 60, 20} {
		o, err := dog.Call(context.Background(), lamps.Named("desk"), (*Lamp).Dim, percent)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("command", o.Number, o.State)
	}
	done := make(chan string)
	lamp, err := client.New(address, client.Options{
		OnCommand: func(_ context.Context, c client.Command) (any, error) {
			done <- string(c.Data)
			return nil, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer lamp.Close()
	fmt.Println("the lamp gets", <-done)
	// Output:
	// command 1 waiting
	// command 2 waiting
	// command 3 waiting
	// the lamp gets {"dim":20}
}

// A question and its answer are a call of the lamp's object, whether the lamp
// is connected or comes in time.
func ExampleAsk() {
	lamps, address, stop := serve()
	defer stop()
	lamp, err := client.New(address, client.Options{
		OnCommand: func(context.Context, client.Command) (any, error) { return 4.5, nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer lamp.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	watts, err := dog.Call0(ctx, lamps.Named("desk"), (*Lamp).Watts)
	fmt.Println(watts, err)
	// Output: 4.5 <nil>
}
