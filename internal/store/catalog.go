package store

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/godurable/dog/internal/exactjson"
)

// The kinds of types, with the values of dog.Kind.
const (
	kindGroup = iota + 1
	kindReplica
	kindObject
)

// Catalog holds the namespaces of a store. It is safe for concurrent use.
type Catalog struct {
	engine Engine // fixed

	mu     sync.Mutex
	spaces map[string]Namespace // guarded by mu
	past   history              // guarded by mu: effect of the migrations on names
}

// Namespace is the catalog's record of a namespace.
type Namespace struct {
	Number uint32 // used in keys
	Origin string // its first name
	Kind   int    // of the registered type
}

// OpenCatalog reads the catalog.
func OpenCatalog(engine Engine) (*Catalog, error) {
	c := &Catalog{engine: engine, spaces: make(map[string]Namespace)}
	for pair, err := range engine.Scan([]byte{namespaceKeys}, []byte{namespaceKeys + 1}, false) {
		if err != nil {
			return nil, err
		}
		var n Namespace
		if err := json.Unmarshal(pair.Value, &n); err != nil {
			return nil, fmt.Errorf("%w: namespace %q: %w", ErrCorrupt, pair.Key[1:], err)
		}
		c.spaces[string(pair.Key[1:])] = n
	}
	return c, nil
}

// Register returns the namespace with this name, adding it if it is new. It
// fails if the namespace was of another kind, if migrations took the name away,
// or if its IDs would be those of another namespace.
func (c *Catalog) Register(name string, kind int) (Namespace, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n, ok := c.spaces[name]; ok {
		if n.Kind != kind {
			return Namespace{}, fmt.Errorf("it was of another kind (%d, now %d)", n.Kind, kind)
		}
		return n, nil
	}
	if gone := c.past[name].gone; gone != "" {
		return Namespace{}, fmt.Errorf("the namespace %s", gone)
	}
	n := Namespace{Number: c.freeNumber(), Origin: c.past.origin(name), Kind: kind}
	for other, known := range c.spaces {
		if known.Origin == n.Origin {
			return Namespace{}, fmt.Errorf("its IDs would be those of %q", other)
		}
	}
	b := c.engine.Begin()
	if err := setNamespace(b, name, n); err != nil {
		b.Discard()
		return Namespace{}, err
	}
	if _, err := b.Commit(); err != nil {
		return Namespace{}, err
	}
	c.spaces[name] = n
	return n, nil
}

// freeNumber returns an unused namespace number. The caller must hold mu.
func (c *Catalog) freeNumber() uint32 {
	number := uint32(1)
	for _, n := range c.spaces {
		number = max(number, n.Number+1)
	}
	return number
}

func namespaceKey(name string) []byte { return append([]byte{namespaceKeys}, name...) }

func setNamespace(b Batch, name string, n Namespace) error {
	value, err := exactjson.Marshal(n)
	if err != nil {
		return err
	}
	b.Set(namespaceKey(name), value)
	return nil
}
