package dog_test

import (
	"log/slog"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/storetest"
)

// asStore returns a store that s opens.
func asStore(s interface {
	OpenEngine(log *slog.Logger) (store.Engine, error)
}) dog.Store {
	return hook.MakeStore(s.OpenEngine).(dog.Store)
}

// storeOf returns a store that is open already.
func storeOf(e store.Engine) dog.Store {
	return hook.MakeStore(func(*slog.Logger) (store.Engine, error) { return e, nil }).(dog.Store)
}

// promptStore returns a store in memory that outlives its runtimes.
func promptStore() *storetest.Engine {
	engine := storetest.New()
	engine.Prompt()
	return engine
}

// put stores something, which closes the gate.
func put(o interface{ Storage() *dog.Storage }) error { return o.Storage().Put("said", []byte("so")) }
