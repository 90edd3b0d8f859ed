package conn

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// This file negotiates the offers in a client's handshake.

const (
	protocolHeader  = "Sec-Websocket-Protocol"
	extensionHeader = "Sec-Websocket-Extensions"
)

// deflateAgreed is the response to an offer of permessage-deflate: neither side
// keeps context between messages.
const deflateAgreed = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"

// agreeProtocol returns the first of the server's subprotocols that the client
// offers too, in both spellings, because the client only accepts its own
// spelling. Offers that differ only in case match if there is no exact match.
// known is the subprotocol that the application has set in its response. It is
// used if there is no other and the client has offered it.
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

// agreeDeflate returns the response to the first acceptable offer of
// permessage-deflate, or "" if there is none (RFC 7692, section 7.1).
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

// answerDeflate returns the response to an offer, whose first element is its
// name. It returns "" to decline the offer: because it is of another extension,
// asks for something unsupported, or violates the rules.
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
		case "client_max_window_bits": // we can read any window
			if valued && !isWindow(value) {
				return ""
			}
		case "server_max_window_bits":
			if value != "15" { // compress/flate supports no smaller window
				return ""
			}
			answer += "; server_max_window_bits=15" // required to accept the offer
		default:
			return ""
		}
	}
	return answer
}

// isWindow reports whether a parameter is the base-2 logarithm of a window
// size.
func isWindow(value string) bool {
	bits, err := strconv.Atoi(value)
	return err == nil && bits >= 8 && bits <= 15 && value == strconv.Itoa(bits)
}

// splitOutsideQuotes splits s at separators outside quoted strings, and trims
// the parts. It returns at least one part.
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

// unquote returns the value of a quoted string. It returns anything else
// unchanged.
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

// hasToken reports whether a list in a header contains token. It ignores case.
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
