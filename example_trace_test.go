package dog_test

import (
	"context"
	"fmt"
	"log"

	"github.com/godurable/dog"
)

// Barrier is an object that counts.
type Barrier struct {
	dog.Object
	passed int
}

func (b *Barrier) Pass(_ context.Context, n int) (int, error) {
	b.passed += n
	return b.passed, nil
}

// A program passes what happens on to its metrics.
func ExampleTrace() {
	done := make(chan dog.EventInfo, 1)
	rt, err := dog.New(dog.Options{Trace: &dog.Trace{
		EventDone: func(e dog.EventInfo) {
			if e.Kind == dog.EventCall {
				done <- e // a histogram of e.Wait and e.Run
			}
		},
	}})
	if err != nil {
		log.Fatal(err)
	}
	barriers, err := dog.RegisterObject[Barrier](rt, "barrier", nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if _, err := dog.Call(ctx, barriers.Named("north"), (*Barrier).Pass, 2); err != nil {
		log.Fatal(err)
	}
	e := <-done
	fmt.Println(e.Object.Namespace, e.Object.Name, e.Kind, e.Method, e.Err)
	fmt.Println(rt.Shutdown(ctx))
	// Output:
	// barrier north Call Pass <nil>
	// <nil>
}
