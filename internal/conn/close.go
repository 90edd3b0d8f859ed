package conn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Errors of Close for arguments that a server may not send.
var (
	// ErrCloseCode means that the code is not one of 1000-1003, 1007-1014 and 3000-4999.
	ErrCloseCode = errors.New("dog: invalid close code")
	// ErrCloseReason means that the reason is over 123 bytes or not UTF-8.
	ErrCloseReason = errors.New("dog: close reason is over 123 bytes or not UTF-8")
)

const (
	maxCloseReason = 123
	noStatus       = 1005 // stands for a close frame without a code; never sent
)

// CloseError says how a connection ended.
type CloseError struct {
	// Code and Reason are those of the side that began to close. Code is 1006 when nobody did, 1005 when the peer's close
	// frame had no code.
	Code   int
	Reason string
	// Local means that Close or Set.Close began it.
	Local bool
	// Err is nil when the closing handshake was completed in peace, else the first cause: ErrTooBig, ErrInvalidUTF8,
	// ErrProtocol, ErrSlow, ErrHeartbeat, the argument of Abort, or an error of the network.
	Err error
}

// Error describes the end for a log.
func (e *CloseError) Error() string {
	s := fmt.Sprintf("conn: closed with %d", e.Code)
	if e.Reason != "" {
		s += fmt.Sprintf(" %q", e.Reason)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns Err.
func (e *CloseError) Unwrap() error { return e.Err }

func (e *CloseError) frame() []byte { return appendClose(nil, e.Code, e.Reason) }

// checkClose validates what an application asks to send.
func checkClose(code int, reason string) error {
	if !allowedCode(code) {
		return fmt.Errorf("%w: %d", ErrCloseCode, code)
	}
	if len(reason) > maxCloseReason || !utf8.ValidString(reason) {
		return ErrCloseReason
	}
	return nil
}

// allowedCode reports whether a close frame may have the code (RFC 6455, section 7.4, and IANA's register).
func allowedCode(code int) bool {
	return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
}

// appendClose appends a close frame to b; reason must have at most maxCloseReason bytes.
func appendClose(b []byte, code int, reason string) []byte {
	if code == noStatus {
		return append(b, finBit|opClose, 0)
	}
	b = append(b, finBit|opClose, byte(2+len(reason)))
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, reason...)
}
