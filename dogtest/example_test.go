package dogtest_test

import (
	"context"
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
