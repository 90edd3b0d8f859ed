package conn

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// What a client offers in its handshake, and what becomes of it.

const (
	protocolHeader  = "Sec-Websocket-Protocol"
	extensionHeader = "Sec-Websocket-Extensions"
)

// deflateAgreed is the answer to an offer of permessage-deflate: neither side
// keeps what came before.
const deflateAgreed = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"

// agreeProtocol returns the first of the server's subprotocols that the client
// offers too, in both spellings: the client only takes its own for an answer.
// Offers that differ in case alone are taken when none is the same. known is
// what the application has put into its answer itself; it counts when there is
// no other and the client has offered it.
func agreeProtocol(request http.Header, supported []string, known string) (ours, theirs string) {
	var offers []string
	for _, line := range request[protocolHeader] {
		for offer := range strings.SplitSeq(line, ",") {
			offers = append(offers, strings.TrimSpace(offer))
		}
	}
	for _, ours := range supported {
		if ours != "" && slices.Contains(offers, ours) {
			return ours, ours
		}
		for _, theirs := range offers {
			if theirs != "" && strings.EqualFold(ours, theirs) {
				return ours, theirs
			}
		}
	}
	if known != "" && slices.Contains(offers, known) {
		return known, known
	}
	return "", ""
}

// agreeDeflate returns the answer to the first offer of permessage-deflate that
// we can accept, "" when there is none (RFC 7692, section 7.1).
func agreeDeflate(request http.Header) string {
	for _, line := range request[extensionHeader] {
		for _, offer := range splitOutsideQuotes(line, ',') {
			if answer := answerDeflate(splitOutsideQuotes(offer, ';')); answer != "" {
				return answer
			}
		}
	}
	return ""
}

// answerDeflate returns the answer to an offer, whose name comes first, "" when
// it has to be declined: because it is of something else, because we cannot do
// what it asks for, or because it breaks the rules.
func answerDeflate(offer []string) string {
	if offer[0] != "permessage-deflate" {
		return ""
	}
	answer := deflateAgreed
	seen := make(map[string]bool)
	for _, param := range offer[1:] {
		name, value, valued := strings.Cut(param, "=")
		name, value = strings.TrimSpace(name), unquote(strings.TrimSpace(value))
		if seen[name] {
			return ""
		}
		seen[name] = true
		switch name {
		case "client_no_context_takeover", "server_no_context_takeover":
			if valued {
				return ""
			}
		case "client_max_window_bits": // what we read may refer to as much as it likes
			if valued && !isWindow(value) {
				return ""
			}
		case "server_max_window_bits":
			if value != "15" { // compress/flate knows no smaller window
				return ""
			}
			answer += "; server_max_window_bits=15" // without it the offer is declined
		default:
			return ""
		}
	}
	return answer
}

// isWindow reports whether a parameter is the logarithm of a window's size.
func isWindow(value string) bool {
	bits, err := strconv.Atoi(value)
	return err == nil && bits >= 8 && bits <= 15 && value == strconv.Itoa(bits)
}

// splitOutsideQuotes splits s at separators that are not within a quoted
// string, and trims the parts. There is at least one.
func splitOutsideQuotes(s string, separator byte) (parts []string) {
	quoted, from := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case quoted && s[i] == '\\':
			i++
		case !quoted && s[i] == separator:
			parts = append(parts, strings.TrimSpace(s[from:i]))
			from = i + 1
		}
	}
	return append(parts, strings.TrimSpace(s[from:]))
}

// unquote returns what a quoted string stands for, and anything else as it is.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '\\' {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// IsUpgrade reports whether the header of a request asks for a WebSocket.
func IsUpgrade(request http.Header) bool {
	return hasToken(request["Connection"], "upgrade") && hasToken(request["Upgrade"], "websocket")
}

// hasToken reports whether a list in a header has a token, whatever its case.
func hasToken(lists []string, token string) bool {
	for _, list := range lists {
		for item := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(item), token) {
				return true
			}
		}
	}
	return false
}
