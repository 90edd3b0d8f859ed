package wire

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// A Verdict is what a device says about a command.
type Verdict string

// The verdicts. A queue ignores those that it does not know.
const (
	Done   Verdict = "done"  // it has been carried out; the payload is the result
	Failed Verdict = "fail"  // it cannot be carried out; the payload is the reason
	Retry  Verdict = "retry" // it cannot be carried out now; the payload is the reason
	More   Verdict = "more"  // it is being carried out
)

// A CommandReply is what a client says about a command.
type CommandReply struct {
	Number  uint64
	Epoch   string // of the queue that gave the number
	Verdict Verdict
}

// ParseReply parses the header of a Reply after its kind: the number and the
// epoch of the command, and the verdict. Further words are ignored.
func ParseReply(header []byte) (CommandReply, error) {
	words := bytes.Split(header, []byte{' '})
	if len(words) < 3 || len(words[1]) != EpochLen || len(words[2]) == 0 {
		return CommandReply{}, fmt.Errorf("%w: the reply %.64q", ErrMalformed, header)
	}
	n, err := parseNumber(string(words[0]))
	if err == nil && (n == 0 || n > maxID) {
		err = fmt.Errorf("%w: the number %d of a command", ErrMalformed, n)
	}
	return CommandReply{n, string(words[1]), Verdict(words[2])}, err
}

// AppendCommand appends the header of a Command: its number, the epoch of the
// queue that gave the number, for how many milliseconds from now it may be
// carried out, and the number of the command before it that waits, 0 if there
// is none.
func AppendCommand(b []byte, number uint64, epoch string, left time.Duration, before uint64) []byte {
	b = strconv.AppendUint(append(b, Command), number, 10)
	b = append(append(append(b, ' '), epoch...), ' ')
	b = append(strconv.AppendInt(b, left.Milliseconds(), 10), ' ')
	return append(strconv.AppendUint(b, before, 10), '\n')
}
