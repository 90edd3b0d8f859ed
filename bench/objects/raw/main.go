//go:build linux

// Command raw measures what the disk does at best: it repeatedly appends a
// block to a file and syncs it.
package main

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/godurable/dog/bench/internal/drive"
)

func main() {
	drive.Main(map[string]func(drive.Job) (drive.Figures, error){"sync": func(job drive.Job) (drive.Figures, error) {
		f, err := os.Create(filepath.Join(job.Dir, "log"))
		if err != nil {
			return nil, err
		}
		return drive.Rate(&appender{f: f, block: make([]byte, 4096)}, 1, 1, job.Time)
	}})
}

type appender struct {
	f     *os.File
	block []byte
}

func (a *appender) Run(_, n int) (began time.Time, err error) {
	for range n {
		if _, err := a.f.Write(a.block); err != nil {
			return began, err
		}
		if err := unix.Fdatasync(int(a.f.Fd())); err != nil {
			return began, err
		}
	}
	return began, nil
}

func (a *appender) Close() error { return a.f.Close() }
