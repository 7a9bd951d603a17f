package h1

import (
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// appendHead appends the head of a request, with its length and without the words that
// are between client and server alone. It tells whether the request is one that this
// package sends: its bytes are plain, and the length of its body is known.
func appendHead(b []byte, req *http.Request) (_ []byte, ok bool) {
	u := req.URL
	if u == nil || u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "" || u.Host == "" || u.User != nil ||
		req.Header == nil || len(req.TransferEncoding) > 0 || len(req.Trailer) > 0 || req.Cancel != nil { //lint:ignore SA1019 it is still honoured
		return b, false
	}
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	host := req.Host
	if host == "" {
		host = u.Host
	}
	if !isToken(method) || method == http.MethodConnect || !plainHost(host) || !plainHost(u.Host) {
		return b, false
	}
	bodied := req.Body != nil && req.Body != http.NoBody
	if bodied != (req.ContentLength > 0) {
		return b, false
	}
	uri := u.RequestURI()
	for i := range len(uri) {
		if uri[i] <= ' ' || uri[i] >= 0x7f {
			return b, false
		}
	}
	b = append(append(append(b, method...), ' '), uri...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), host...)
	agent, given := req.Header["User-Agent"]
	if !given {
		b = append(b, "\r\nUser-Agent: Go-http-client/1.1"...)
	} else if len(agent) > 0 && agent[0] != "" {
		if !isValue(agent[0]) {
			return b, false
		}
		b = append(append(b, "\r\nUser-Agent: "...), trim(agent[0])...)
	}
	if bodied || method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch {
		b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), req.ContentLength, 10)
	}
	if req.Close {
		b = append(b, "\r\nConnection: close"...)
	}
	for name, values := range req.Header {
		switch name {
		case "User-Agent", "Host", "Content-Length":
			continue // as net/http has it: what counts are the request's fields
		case "Transfer-Encoding", "Trailer", "Connection", "Expect", "Upgrade", "Keep-Alive", "Proxy-Connection", "Te":
			return b, false
		}
		if !isToken(name) || textproto.CanonicalMIMEHeaderKey(name) != name {
			return b, false
		}
		for _, v := range values {
			if !isValue(v) {
				return b, false
			}
			b = append(append(append(append(b, '\r', '\n'), name...), ':', ' '), trim(v)...)
		}
	}
	return append(b, "\r\n\r\n"...), true
}

// isToken tells whether s is a token of RFC 9110, 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// isValue tells whether s can be sent as a header's value: a line of its own it could
// not begin.
func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func trim(s string) string { return strings.Trim(s, " \t") }

// plainHost tells whether a host needs no translation: a name, an address, a port.
func plainHost(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && strings.IndexByte(".-:_[]", c) < 0 {
			return false
		}
	}
	return s != ""
}
