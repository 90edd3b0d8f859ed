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

// maxAnswer is the maximum number of bytes read of an endpoint's response.
const maxAnswer = 64 << 10

// Errors of a customer, with the responses to the caller.
var (
	ErrNoEndpoint = &dog.StatusError{Status: http.StatusConflict, Text: "the customer has no endpoint"}
	ErrNotDead    = &dog.StatusError{Status: http.StatusNotFound, Text: "no such dead letter"}
	ErrFull       = &dog.StatusError{
		Status: http.StatusTooManyRequests, Text: "too many deliveries wait", RetryAfter: time.Minute,
	}
)

// A Policy configures the tries of deliveries.
type Policy struct {
	Tries   int           // after the last try a delivery is a dead letter
	First   time.Duration // between the first and the second try; doubles each time
	Most    time.Duration // maximum between two tries
	Timeout time.Duration // of one try
	Waiting int           // maximum number of waiting deliveries of a customer
}

// pause returns the time to wait after so many tries. It adds up to a quarter
// at random, so that deliveries that failed together are not retried together.
func (p Policy) pause(tries int) time.Duration {
	pause := p.First
	for range tries - 1 {
		pause = min(2*pause, p.Most)
	}
	return pause + rand.N(pause/4+1)
}

// lease is the time after which a try must have been lost in a crash.
func (p Policy) lease() time.Duration { return 2 * p.Timeout }

// A Delivery is a request to a customer's endpoint.
type Delivery struct {
	ID          string `json:"id"` // the same in all tries, so that the endpoint can detect duplicates
	Tries       int    `json:"tries"`
	Failure     string `json:"failure,omitempty"` // of the last try
	ContentType string `json:"contentType,omitempty"`
	Body        []byte `json:"body"`
}

// Customer is the queue of one customer. Its deliveries are made one after the
// other. While there are any, an alarm is set for the next action on the first.
type Customer struct {
	dog.Object
	policy Policy       // fixed
	client *http.Client // fixed
	trying bool         // a try is in progress, in this life of the object
}

func (c *Customer) queue() dog.Map[Delivery] { return dog.MapOf[Delivery](c.Storage(), "queue/") }

func (c *Customer) dead() dog.Map[Delivery] { return dog.MapOf[Delivery](c.Storage(), "dead/") }

// SetEndpoint sets the endpoint for all deliveries, waiting deliveries
// included.
func (c *Customer) SetEndpoint(_ context.Context, url string) error {
	return dog.Put(c.Storage(), "endpoint", url)
}

// Accept queues a delivery and returns its ID. dog holds the result until the
// delivery is durable.
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

// Dead returns up to 100 dead letters after an ID, without their bodies.
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

// Revive queues a dead letter again, at the end of the queue.
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

// enqueue puts a delivery at the end of the queue, and gives a new delivery its
// ID. The caller must be in a transaction.
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

// first returns the first delivery of the queue.
func (c *Customer) first() (d dog.Entry[Delivery], found bool, err error) {
	for d, err := range c.queue().List(dog.ListOptions{Limit: 1}) {
		return d, err == nil, err
	}
	return d, false, nil
}

// OnAlarm starts a try of the first delivery. It does not wait for the
// response, because a runtime runs a limited number of alarms at once and
// endpoints are slow. If the process is killed during the try, the alarm set
// here starts the next one.
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
	err = dog.Await(ctx, func() error { // further deliveries are accepted while it waits
		failure = c.post(ctx, url, d.Value)
		return nil
	})
	if err != nil {
		return err // the object was reset
	}
	c.trying = false
	if ctx.Err() != nil {
		return context.Cause(ctx) // the program ends, and the endpoint has not failed
	}
	return c.Storage().Transaction(func() error { return c.settle(d.Key, d.Value, failure) })
}

// settle records the result of a try and sets the alarm for the next one. The
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

// A statusError is the status of an endpoint that has refused a delivery.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("%d %s", int(e), http.StatusText(int(e))) }

// describe returns what a customer may know of a failure: the response of the
// endpoint, but nothing about our network.
func describe(failure error) string {
	var status statusError
	if errors.As(failure, &status) {
		return status.Error()
	}
	return "no answer"
}

// post sends a delivery. It runs while other events use the object, so it uses
// only fixed fields.
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
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // the connection can be reused if the response is that short
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return statusError(resp.StatusCode)
	}
	return nil
}
