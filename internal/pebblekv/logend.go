package pebblekv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"github.com/godurable/dog/internal/store"
)

// Pebble reads its newest log up to the first unreadable record, and treats
// that as the point where a crash has cut the log off, unless a record in a
// later block of 32 KiB proves otherwise. This file knows more: a store that
// was closed has noted that, and records after the cut, even in the same block,
// show what was lost.

// noteName is the name of the file that names the log that was complete when
// the store was closed. It remains valid until that log is removed.
const noteName = "dog.clean"

var logName = regexp.MustCompile(`^\d+\.log$`)

// The format of a log: records, made of chunks in blocks.
const (
	blockSize   = 32 << 10
	headerSize  = 19 // checksum 4, length 2, kind 1, log number 4, offset synced before 8
	trailerSize = 11 // a header without checksum, length and offset, with the next log number
	trailerKind = 5

	fullChunk = 9 // the first kind
	lastChunk = 12

	batchSize = 12 // the header of the batch in a record
)

// A logEnd describes how the newest log ends.
type logEnd struct {
	name   string
	number uint32 // the lower 32 bits
	at     int64  // where the next chunk would begin, after the last readable record
	room   int64  // bytes before that which are zero because no chunk fits into them
	closed bool   // there is a trailer at that point
	eof    bool   // the file ends at that point
	lost   int64  // bytes up to the end of the last sync record after the cut; 0: there is none
	proved bool   // data after the cut had been synced

	sync []byte // content of a sync record after the header of its batch
}

// readLog determines how the newest log in a directory ends.
func readLog(fsys vfs.FS, dir, secret string) (end logEnd, err error) {
	end.sync = append([]byte{byte(pebble.InternalKeyKindLogData), byte(len(secret))}, secret...)
	logs, err := wal.Scan(wal.Dir{FS: fsys, Dirname: dir})
	if err != nil {
		return end, err
	}
	if len(logs) == 0 {
		return end, fmt.Errorf("%w: there is no log", store.ErrCorrupt)
	}
	last := logs[len(logs)-1]
	_, path := last.SegmentLocation(last.NumSegments() - 1)
	end.name, end.number = fsys.PathBase(path), uint32(last.Num)
	r := last.OpenForRead()
	for err == nil {
		var offset wal.Offset
		_, offset, err = r.NextRecord()
		end.at = offset.Physical
	}
	closed := r.Close()
	switch {
	case closed != nil:
		return end, closed
	case errors.Is(err, io.EOF):
	case errors.Is(err, record.ErrUnexpectedEOF):
	case errors.Is(err, record.ErrInvalidChunk), errors.Is(err, record.ErrZeroedChunk):
		end.proved = true
	default:
		return end, err
	}
	f, err := fsys.Open(path)
	if err != nil {
		return end, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return end, end.look(f)
}

// look reads the data after the last record.
func (end *logEnd) look(f io.ReaderAt) error {
	if room := blockSize - end.at%blockSize; room < headerSize {
		end.at, end.room = end.at+room, room
	}
	bad := end.at // offset of the first unreadable chunk
	block := make([]byte, blockSize)
	for start := end.at / blockSize * blockSize; ; start += blockSize {
		n, err := f.ReadAt(block, start)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		b := block[:n]
		if start <= end.at {
			rest := b[min(int(end.at-start), n):]
			end.eof = len(rest) == 0
			if end.closed = end.isTrailer(rest); end.closed || end.eof {
				return nil
			}
		}
		for bad >= start && bad < start+blockSize { // a record may have been cut in a later chunk
			size, _ := end.chunk(b[min(int(bad-start), n):])
			if size == 0 {
				break
			}
			bad += int64(size)
			if room := blockSize - bad%blockSize; room < headerSize {
				bad += room
			}
		}
		if bad < start+blockSize {
			end.findSyncs(b, start, bad)
		}
		if n < blockSize {
			return nil
		}
	}
}

// findSyncs searches a block for sync records after the first unreadable chunk.
// Nothing else proves anything: the rest of the file contains data sent by
// clients, some of it from earlier logs, and clients can forge any chunk except
// for the secret. A sync record that spans two blocks is missed.
func (end *logEnd) findSyncs(b []byte, start, bad int64) {
	for i := int(max(bad-start, 0)); ; i++ {
		next := bytes.Index(b[min(i, len(b)):], end.sync)
		if next < 0 {
			return
		}
		i += next
		from := i - headerSize - batchSize
		if start+int64(from) < bad || from < 0 {
			continue
		}
		size, synced := end.chunk(b[from:])
		if size != headerSize+batchSize+len(end.sync) {
			continue
		}
		end.lost = start + int64(from+size) - end.at
		end.proved = end.proved || synced > uint64(bad)
	}
}

// isTrailer reports whether b begins with the trailer of a log.
func (end *logEnd) isTrailer(b []byte) bool {
	return len(b) >= trailerSize && string(b[:trailerSize]) == string(end.trailer())
}

func (end *logEnd) trailer() []byte {
	return binary.LittleEndian.AppendUint32([]byte{0, 0, 0, 0, 0, 0, trailerKind}, end.number+1)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chunk returns the size of the chunk at the beginning of b, and the offset up
// to which the log had been synced before it. The size is 0 if b does not begin
// with a chunk of this log.
func (end *logEnd) chunk(b []byte) (size int, synced uint64) {
	if len(b) < headerSize || b[6] < fullChunk || b[6] > lastChunk || binary.LittleEndian.Uint32(b[7:]) != end.number {
		return 0, 0
	}
	size = headerSize + int(binary.LittleEndian.Uint16(b[4:]))
	if size > len(b) {
		return 0, 0
	}
	sum := crc32.Checksum(b[6:size], castagnoli)
	if binary.LittleEndian.Uint32(b) != (sum>>15|sum<<17)+0xa282ead8 {
		return 0, 0
	}
	return size, binary.LittleEndian.Uint64(b[11:])
}

// checkLog returns store.ErrCorrupt if the newest log has lost data that may
// have been reported as durable. Otherwise the end contains the number of bytes
// of whole records cut off by a crash.
func checkLog(fsys vfs.FS, dir, secret string) (end logEnd, err error) {
	end, err = readLog(fsys, dir, secret)
	if err != nil {
		return end, err
	}
	noted, err := readNote(fsys, dir)
	if err != nil {
		return end, err
	}
	switch {
	case noted != "" && end.number < numberOf(noted):
		return end, fmt.Errorf("%w: the log %s is missing: go back to a backup", store.ErrCorrupt, noted)
	case noted == end.name && !end.closed:
		return end, fmt.Errorf(
			"%w: the log %s was complete when the store was closed, and ends at byte %d now: go back to a backup",
			store.ErrCorrupt, end.name, end.at,
		)
	case end.proved:
		return end, fmt.Errorf(
			"%w: the log %s cannot be read from byte %d on, though what follows was durable: go back to a backup",
			store.ErrCorrupt, end.name, end.at,
		)
	}
	return end, nil
}

func numberOf(log string) (number uint32) {
	var n uint64
	_, _ = fmt.Sscanf(log, "%d", &n) // it matches logName
	return uint32(n)
}

// readNote returns the name in the note, or "" if there is none.
func readNote(fsys vfs.FS, dir string) (string, error) {
	f, err := fsys.Open(fsys.PathJoin(dir, noteName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	content, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	name, ended := strings.CutSuffix(string(content), "\n")
	if !ended || !logName.MatchString(name) {
		return "", fmt.Errorf("%w: %s contains %q", store.ErrCorrupt, noteName, content)
	}
	return name, nil
}

// noteEnd records that the newest log in a directory is complete.
func noteEnd(fsys vfs.FS, dir string) error {
	logs, err := wal.Scan(wal.Dir{FS: fsys, Dirname: dir})
	if err != nil || len(logs) == 0 {
		return err
	}
	_, path := logs[len(logs)-1].SegmentLocation(0)
	return writeFile(fsys, dir, noteName, []byte(fsys.PathBase(path)+"\n"))
}

// closeLog ends the newest log in a directory, which may have been copied while
// it was written, and records that. The error is store.ErrCorrupt if its middle
// is missing.
func closeLog(fsys vfs.FS, dir, secret string) (err error) {
	end, err := readLog(fsys, dir, secret)
	if err != nil {
		return err
	}
	if end.proved {
		return fmt.Errorf("%w: the log %s cannot be read from byte %d on", store.ErrCorrupt, end.name, end.at)
	}
	f, err := fsys.OpenReadWrite(fsys.PathJoin(dir, end.name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(append(make([]byte, end.room), end.trailer()...), end.at-end.room)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return noteEnd(fsys, dir)
}
