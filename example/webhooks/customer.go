package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/godurable/dog"
)

// maxAnswer is how many bytes are read of an endpoint's answer.
const maxAnswer = 64 << 10

// Errors of a customer, with the answers to whoever asked.
var (
	ErrNoEndpoint = &dog.StatusError{Status: http.StatusConflict, Text: "the customer has no endpoint"}
	ErrNotDead    = &dog.StatusError{Status: http.StatusNotFound, Text: "no such dead letter"}
	ErrFull       = &dog.StatusError{
		Status: http.StatusTooManyRequests, Text: "too many deliveries wait", RetryAfter: time.Minute,
	}
)

// A Policy says how deliveries are tried.
type Policy struct {
	Tries   int           // after the last one a delivery is a dead letter
	First   time.Duration // between the first try and the second; then twice as long each time
	Most    time.Duration // between two tries
	Timeout time.Duration // of one try
	Waiting int           // deliveries of one customer that may wait
}

// pause returns how long to wait after so many tries: up to a quarter longer
// than it need be, so that what failed together does not come back together.
func (p Policy) pause(tries int) time.Duration {
	pause := p.First
	for range tries - 1 {
		pause = min(2*pause, p.Most)
	}
	return pause + rand.N(pause/4+1)
}

// lease is when a try that has not ended must have been lost in a crash.
func (p Policy) lease() time.Duration { return 2 * p.Timeout }

// A Delivery is what a customer's endpoint is to get.
type Delivery struct {
	ID          string `json:"id"` // stays the same in all tries, for the endpoint to tell what it has seen
	Tries       int    `json:"tries"`
	Failure     string `json:"failure,omitempty"` // of the last try
	ContentType string `json:"contentType,omitempty"`
	Body        []byte `json:"body"`
}

// Customer is the queue of one customer. Its deliveries are made one after the
// other; an alarm is set whenever there are some, for the time at which
// something has to be done about the first.
type Customer struct {
	dog.Object
	policy Policy       // fixed
	client *http.Client // fixed
	trying bool         // a try is under way, in this life of the object
}

func (c *Customer) queue() dog.Map[Delivery] { return dog.MapOf[Delivery](c.Storage(), "queue/") }

func (c *Customer) dead() dog.Map[Delivery] { return dog.MapOf[Delivery](c.Storage(), "dead/") }

// SetEndpoint says where deliveries go, those that wait too.
func (c *Customer) SetEndpoint(_ context.Context, url string) error {
	return dog.Put(c.Storage(), "endpoint", url)
}

// Accept queues a delivery and returns the ID it gets. The caller learns of it
// once the delivery is durable: dog sees to that.
func (c *Customer) Accept(_ context.Context, d Delivery) (id string, err error) {
	_, found, err := dog.Get[string](c.Storage(), "endpoint")
	if err != nil {
		return "", err
	}
	if !found {
		return "", ErrNoEndpoint
	}
	err = c.Storage().Transaction(func() (err error) {
		id, err = c.enqueue(d)
		return err
	})
	return id, err
}

// Dead returns up to 100 dead letters, those after an ID, without their bodies.
func (c *Customer) Dead(_ context.Context, after string) ([]Delivery, error) {
	letters := []Delivery{}
	for letter, err := range c.dead().List(dog.ListOptions{StartAfter: after, Limit: 100}) {
		if err != nil {
			return nil, err
		}
		letter.Value.Body = nil
		letters = append(letters, letter.Value)
	}
	return letters, nil
}

// Revive queues a dead letter again, behind what waits.
func (c *Customer) Revive(_ context.Context, id string) error {
	d, found, err := c.dead().Get(id)
	if err != nil {
		return err
	}
	if !found {
		return ErrNotDead
	}
	d.Tries, d.Failure = 0, ""
	return c.Storage().Transaction(func() error {
		if _, err := c.enqueue(d); err != nil {
			return err
		}
		_, err := c.dead().Delete(id)
		return err
	})
}

// enqueue puts a delivery at the end of the queue. A new one gets its ID. The
// caller must be in a transaction.
func (c *Customer) enqueue(d Delivery) (id string, err error) {
	number, err := dog.Update(c.Storage(), "last", func(n uint64) (uint64, error) { return n + 1, nil })
	if err != nil {
		return "", err
	}
	first, found, err := c.first()
	if err != nil {
		return "", err
	}
	if found {
		oldest, err := strconv.ParseUint(first.Key, 10, 64)
		if err != nil {
			return "", err
		}
		if number-oldest >= uint64(c.policy.Waiting) {
			return "", ErrFull
		}
	}
	place := fmt.Sprintf("%016d", number) // the order of keys is that of the queue
	if d.ID == "" {
		d.ID = c.Name() + "-" + place
	}
	if err := c.queue().Put(place, d); err != nil {
		return "", err
	}
	alarm, set, err := c.Storage().Alarms().Get("")
	if err != nil || (set && !alarm.Failed) {
		return d.ID, err
	}
	return d.ID, c.Storage().Alarms().Set(time.Now())
}

// first returns the delivery whose turn it is.
func (c *Customer) first() (d dog.Entry[Delivery], found bool, err error) {
	for d, err := range c.queue().List(dog.ListOptions{Limit: 1}) {
		return d, err == nil, err
	}
	return d, false, nil
}

// OnAlarm has the first delivery tried. It does not wait for the answer,
// because a runtime runs only so many alarms at once and endpoints are slow.
// When the process is killed meanwhile, the alarm set here brings the delivery
// back.
func (c *Customer) OnAlarm(ctx context.Context, _ dog.Alarm) error {
	if err := c.Storage().Alarms().Set(time.Now().Add(c.policy.lease())); err != nil {
		return err
	}
	if c.trying {
		return nil
	}
	return dog.Go(ctx, c.try)
}

// try tries the first delivery once.
func (c *Customer) try(ctx context.Context) error {
	d, found, err := c.first()
	if err != nil {
		return err
	}
	if !found {
		_, err := c.Storage().Alarms().Delete("")
		return err
	}
	url, _, err := dog.Get[string](c.Storage(), "endpoint")
	if err != nil {
		return err
	}
	c.trying = true
	var failure error
	err = dog.Await(ctx, func() error { // further deliveries are accepted meanwhile
		failure = c.post(ctx, url, d.Value)
		return nil
	})
	if err != nil {
		return err // the object was reset
	}
	c.trying = false
	if ctx.Err() != nil {
		return context.Cause(ctx) // the program ends: that is no failure of the endpoint
	}
	return c.Storage().Transaction(func() error { return c.settle(d.Key, d.Value, failure) })
}

// settle notes how a try has ended and sets the alarm for the next one. The
// caller must be in a transaction.
func (c *Customer) settle(place string, d Delivery, failure error) error {
	alarms := c.Storage().Alarms()
	if failure != nil {
		c.Log().Warn("delivery failed", "delivery", d.ID, "tries", d.Tries+1, "error", failure)
		d.Tries++
		d.Failure = describe(failure)
		if d.Tries < c.policy.Tries {
			if err := c.queue().Put(place, d); err != nil {
				return err
			}
			return alarms.Set(time.Now().Add(c.policy.pause(d.Tries)))
		}
		if err := c.dead().Put(d.ID, d); err != nil {
			return err
		}
	}
	if _, err := c.queue().Delete(place); err != nil {
		return err
	}
	_, more, err := c.first()
	if err != nil {
		return err
	}
	if more {
		return alarms.Set(time.Now())
	}
	_, err = alarms.Delete("")
	return err
}

// A statusError is an endpoint's answer that does not say that it has taken the
// delivery.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("%d %s", int(e), http.StatusText(int(e))) }

// describe says what a customer may know of a failure: its endpoint's answer,
// but nothing about our network.
func describe(failure error) string {
	var status statusError
	if errors.As(failure, &status) {
		return status.Error()
	}
	return "no answer"
}

// post sends a delivery. It runs while other events use the object, of which it
// therefore needs only what is fixed.
func (c *Customer) post(ctx context.Context, url string, d Delivery) error {
	ctx, cancel := context.WithTimeout(ctx, c.policy.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(d.Body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", d.ContentType)
	req.Header.Set("Idempotency-Key", d.ID)
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // so that the connection can be used again, if the answer is that short
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return statusError(resp.StatusCode)
	}
	return nil
}
