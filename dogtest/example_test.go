package dogtest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// A Greeter greets its clients and counts the greetings.
type Greeter struct{ dog.Object }

// OnMessage greets a client.
func (g *Greeter) OnMessage(ctx context.Context, s *dog.Socket, m dog.Message) error {
	n, err := g.Count(ctx)
	if err != nil {
		return err
	}
	return s.Send(fmt.Sprintf("hello %s, no. %d", m, n))
}

// Count counts a greeting.
func (g *Greeter) Count(context.Context) (int, error) {
	return dog.Update(g.Storage(), "greetings", func(n int) (int, error) { return n + 1, nil })
}

// A client talks to an object by way of the program's HTTP handler, and Run
// runs one handler of the object without a client. In a test, t is that of the
// test and time is best virtual (testing/synctest).
func Example() {
	t := newT()
	defer t.end()

	rt := dogtest.New(t, dog.Options{Store: dogtest.NewDisk(t)})
	greeters, err := dog.RegisterObject[Greeter](rt, "greeter", nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := dogtest.Serve(t, greeters.Named("door"))
	ada := srv.Dial("/")
	ada.Send("ada")
	fmt.Println(ada.Receive())

	out := dogtest.Run(t, greeters.Named("door"), func(ctx context.Context, g *Greeter) error {
		_, err := g.Count(ctx)
		return err
	})
	fmt.Printf("%s %v\n", out.Stored["greetings"], out.Err)
	// Output:
	// hello ada, no. 1
	// 2 <nil>
}

// A Log sends all clients what one of them has sent.
type Log struct{ dog.Object }

// OnMessage sends a line to all clients.
func (l *Log) OnMessage(_ context.Context, _ *dog.Socket, m dog.Message) error { return l.Broadcast(m) }

// A client breaks off, comes back, and gets what it has missed.
func ExampleServer_DialV1() {
	t := newT()
	defer t.end()

	logs, err := dog.RegisterObject(dogtest.New(t, dog.Options{}), "log", &dog.ObjectOptions[Log]{
		History: dog.HistoryOptions{Count: 100},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := dogtest.Serve(t, logs.Named("main"))
	ada, bob := srv.DialV1("/", dogtest.V1Options{}), srv.DialV1("/", dogtest.V1Options{})
	ada.Acknowledged(ada.Send("one"))
	fmt.Println(ada.Receive())
	ada.Vanish()
	bob.Acknowledged(bob.Send("two"))

	again := ada.Again()
	fmt.Printf("gap %q\n", again.Hello.Gap)
	fmt.Println(again.Receive())
	// Output:
	// one
	// gap ""
	// two
}

// A power cut takes what was not durable, and nothing else: what a caller or a
// client has seen is there when the disk is opened again.
func ExampleDisk() {
	t := newT()
	defer t.end()

	disk := dogtest.NewDisk(t)
	for range 2 {
		rt := dogtest.New(t, dog.Options{Store: disk})
		greeters, err := dog.RegisterObject[Greeter](rt, "greeter", nil)
		if err != nil {
			t.Fatal(err)
		}
		n, err := dog.Call0(context.Background(), greeters.Named("door"), (*Greeter).Count)
		fmt.Println(n, err)
		disk.Crash()
	}

	// A full disk refuses writes and goes on when there is space again.
	disk.Fill()
	_, err := dog.New(dog.Options{Store: disk})
	fmt.Println(errors.Is(err, dog.ErrStoreFull))
	// Output:
	// 1 <nil>
	// 2 <nil>
	// true
}
