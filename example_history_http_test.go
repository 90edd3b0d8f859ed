package dog_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/godurable/dog"
)

// Ticker is an object that keeps the prices that it sends.
type Ticker struct{ dog.Object }

// Quote sends a price.
func (t *Ticker) Quote(_ context.Context, price float64) error { return t.Broadcast(price) }

// A history serves clients without a WebSocket: those that ask from time to
// time, and those that follow it.
func ExampleStub_History() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	tickers, err := dog.RegisterObject(rt, "ticker", &dog.ObjectOptions[Ticker]{
		History: dog.HistoryOptions{Count: 1000},
	})
	if err != nil {
		log.Fatal(err)
	}
	tea := tickers.Named("tea")
	server := httptest.NewServer(tea.History())
	defer server.Close()

	ctx := context.Background()
	for _, price := range []float64{2.1, 2.2, 2.3} {
		if err := dog.CallErr(ctx, tea, (*Ticker).Quote, price); err != nil {
			log.Fatal(err)
		}
	}
	page, err := tea.History().Read("", 2)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range page.Messages {
		fmt.Println(m)
	}

	response, err := http.Get(server.URL + "?live=sse&offset=" + string(page.Next))
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if lines.Text() == "event: data" {
			lines.Scan()
			fmt.Println(lines.Text())
			break
		}
	}
	// Output:
	// 2.1
	// 2.2
	// data:[2.3]
}
