package faultfs

import (
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A volume is the space of a file system of limited size.
type volume struct {
	mu    sync.Mutex
	size  uint64             // guarded by mu; 0: there is no limit
	taken uint64             // guarded by mu: by files, and by Ballast
	files map[string]*extent // guarded by mu: by path
}

// An extent is the space of one file.
type extent struct {
	bytes uint64
	links int
}

// Limit gives the file system a size in bytes. A change that does not fit fails
// with ENOSPC, and GetDiskUsage reports the free bytes. Limit must be called
// before the file system is used. A file system returned by Crash has no limit.
func (f *FS) Limit(size uint64) {
	f.volume.mu.Lock()
	defer f.volume.mu.Unlock()
	f.volume.size = size
	f.volume.files = make(map[string]*extent)
}

// Ballast takes bytes of a limited file system away, at most the free bytes. A
// negative number gives them back. It returns the number of bytes.
func (f *FS) Ballast(bytes int64) int64 {
	v := &f.volume
	v.mu.Lock()
	defer v.mu.Unlock()
	bytes = min(bytes, int64(v.size-v.taken))
	v.taken = uint64(int64(v.taken) + bytes)
	return bytes
}

// GetDiskUsage implements vfs.FS.
func (f *FS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	v := &f.volume
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.size == 0 {
		return f.FS.GetDiskUsage(path)
	}
	return vfs.DiskUsage{AvailBytes: v.size - v.taken, TotalBytes: v.size, UsedBytes: v.taken}, nil
}

// grow makes a file take so many bytes, if it takes fewer, and returns the
// bytes that it takes. If there are not enough, the error is ENOSPC, and the
// file takes the free bytes if partly is set.
func (v *volume) grow(name string, bytes uint64, partly bool) (uint64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.size == 0 {
		return bytes, nil
	}
	file := v.files[name]
	if file == nil { // removed, and still written
		return bytes, nil
	}
	if bytes <= file.bytes {
		return bytes, nil
	}
	more := min(bytes-file.bytes, v.size-v.taken)
	if !partly && file.bytes+more < bytes {
		more = 0
	}
	file.bytes += more
	v.taken += more
	if file.bytes < bytes {
		return file.bytes, &os.PathError{Op: "write", Path: name, Err: syscall.ENOSPC}
	}
	return bytes, nil
}

// create records a new file, in place of any earlier one.
func (v *volume) create(name string) {
	v.remove(name)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.size > 0 {
		v.files[name] = &extent{links: 1}
	}
}

func (v *volume) remove(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.removeLocked(name)
}

func (v *volume) removeLocked(name string) {
	file := v.files[name]
	if file == nil {
		return
	}
	delete(v.files, name)
	if file.links--; file.links == 0 {
		v.taken -= file.bytes
	}
}

// removeAll removes a file or a directory.
func (v *volume) removeAll(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for file := range v.files {
		if file == name || strings.HasPrefix(file, name+"/") {
			v.removeLocked(file)
		}
	}
}

// rename renames a file or a directory.
func (v *volume) rename(from, to string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for name, file := range v.files {
		rest, found := strings.CutPrefix(name, from)
		if !found || (rest != "" && rest[0] != '/') {
			continue
		}
		v.removeLocked(to + rest)
		delete(v.files, name)
		v.files[to+rest] = file
	}
}

func (v *volume) link(from, to string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if file := v.files[from]; file != nil {
		file.links++
		v.files[to] = file
	}
}
