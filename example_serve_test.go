package dog_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/godurable/dog"
)

// Greeter is an object that answers requests.
type Greeter struct{ dog.Object }

func (g *Greeter) Receive(w http.ResponseWriter, _ *http.Request) error {
	_, err := fmt.Fprintf(w, "hello from %s", g.Name())
	return err
}

// Serve ends when its context does, and then everything has been stopped. A
// program gets such a context from [os/signal.NotifyContext], and usually
// passes no listener but the Addr of the server.
func ExampleRuntime_Serve() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	greeters, err := dog.RegisterObject[Greeter](rt, "greeter", nil)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/{name}", func(w http.ResponseWriter, req *http.Request) {
		greeters.Named(req.PathValue("name")).ServeHTTP(w, req)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- rt.Serve(ctx, &http.Server{Handler: mux}, listener) }()

	answer, err := http.Get("http://" + listener.Addr().String() + "/ada")
	if err != nil {
		log.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		log.Fatal(err)
	}
	answer.Body.Close()
	fmt.Printf("%s\n", body)
	stop()
	fmt.Println("ended:", <-ended)
	// Output:
	// hello from ada
	// ended: <nil>
}
