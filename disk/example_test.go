package disk_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
)

// Visitors counts the visits of a page.
type Visitors struct{ dog.Object }

// Visit counts a visit and returns the number of visits.
func (v *Visitors) Visit(context.Context) (int, error) {
	return dog.Update(v.Storage(), "visits", func(n int) (int, error) { return n + 1, nil })
}

// visit counts a visit in a data directory, and closes the directory.
func visit(dir string) (n int, err error) {
	ctx := context.Background()
	rt, err := dog.New(dog.Options{Store: disk.With(disk.Options{
		Dir:  dir,
		Wait: 15 * time.Second, // for the process that leaves in a rolling restart
	})})
	if err != nil {
		return 0, err
	}
	defer func() { err = cmp.Or(err, rt.Shutdown(ctx)) }()
	visitors, err := dog.RegisterObject[Visitors](rt, "visitors", nil)
	if err != nil {
		return 0, err
	}
	return dog.Call0(ctx, visitors.Named("home"), (*Visitors).Visit)
}

// What objects store is found again by the next process that opens the
// directory.
func Example() {
	parent, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(parent)
	for range 2 {
		n, err := visit(filepath.Join(parent, "data"))
		fmt.Println(n, err)
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
}

// One runtime at a time has a directory open.
func ExampleAt() {
	parent, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(parent)
	options := dog.Options{Store: disk.At(filepath.Join(parent, "data"))}
	rt, err := dog.New(options)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	_, err = dog.New(options)
	fmt.Println(errors.Is(err, dog.ErrStoreLocked))
	// Output: true
}
