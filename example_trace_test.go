package dog_test

import (
	"context"
	"fmt"
	"log"

	"github.com/godurable/dog"
)

// Barrier is an object that counts, and reports the count to the office.
type Barrier struct {
	dog.Object
	passed int
}

func (b *Barrier) Pass(ctx context.Context, n int) error {
	b.passed += n
	return dog.CallErr(ctx, dog.NamespaceOf[Barrier](b).Named("office"), (*Barrier).Note, b.passed)
}

func (b *Barrier) Note(_ context.Context, passed int) error {
	b.passed = passed
	return nil
}

// A program passes what happens on to its metrics, and each event to the events
// that it causes.
func ExampleTrace() {
	type pathKey struct{}
	done := make(chan string, 2)
	rt, err := dog.New(dog.Options{Trace: &dog.Trace{
		EventBegin: func(ctx context.Context, e dog.EventInfo) context.Context { // begins a span
			path, _ := ctx.Value(pathKey{}).(string)
			return context.WithValue(ctx, pathKey{}, path+"/"+e.Object.Name)
		},
		EventDone: func(ctx context.Context, e dog.EventInfo) {
			if e.Kind == dog.EventCall { // and a histogram of e.Wait and e.Run
				done <- fmt.Sprint(ctx.Value(pathKey{}), " ", e.Method, " for ", e.From.Name, ": ", e.Err)
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
	if err := dog.CallErr(ctx, barriers.Named("north"), (*Barrier).Pass, 2); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-done)
	fmt.Println(<-done)
	fmt.Println(rt.Shutdown(ctx))
	// Unordered output:
	// /north/office Note for north: <nil>
	// /north Pass for : <nil>
	// <nil>
}
