//go:build linux

package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// compact does what Pebble does in the end by itself, with the options that the
// library gave it.
func compact(dir string) error {
	state, err := pebble.Peek(dir, vfs.Default)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Clean(state.OptionsFilename))
	if err != nil {
		return err
	}
	options := &pebble.Options{Logger: quiet{}}
	hooks := &pebble.ParseHooks{
		NewFilterPolicy: func(string) (pebble.FilterPolicy, error) { return bloom.FilterPolicy(10), nil },
	}
	if err := options.Parse(string(text), hooks); err != nil {
		return err
	}
	db, err := pebble.Open(dir, options)
	if err != nil {
		return err
	}
	return errors.Join(db.Compact(context.Background(), []byte{0}, []byte{0xff}, true), db.Close())
}

type quiet struct{ pebble.Logger }

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

// sizeOf returns what a directory takes on disk, in bytes.
func sizeOf(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			size += stat.Blocks * 512
		}
		return nil
	})
	return size, err
}
