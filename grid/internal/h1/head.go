package h1

import (
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// ordinary tells whether a request is one that this package sends: its bytes are
// plain, the length of its body is known, and nothing in it is for the connection.
func ordinary(req *http.Request) bool {
	u := req.URL
	if u == nil || u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "" || u.User != nil ||
		len(req.TransferEncoding) > 0 || len(req.Trailer) > 0 {
		return false
	}
	//lint:ignore SA1019 net/http still honours it
	if req.Cancel != nil {
		return false
	}
	if bodied(req) != (req.ContentLength > 0) || !isToken(method(req)) || req.Method == http.MethodConnect ||
		!plainHost(u.Host) || req.Host != "" && !plainHost(req.Host) || req.Header == nil {
		return false
	}
	uri := u.RequestURI()
	for i := range len(uri) {
		if uri[i] <= ' ' || uri[i] >= 0x7f {
			return false
		}
	}
	for name, values := range req.Header {
		switch name {
		case "Transfer-Encoding", "Trailer", "Connection", "Expect", "Upgrade", "Keep-Alive", "Proxy-Connection", "Te":
			return false
		}
		if !Sendable(name, values) || textproto.CanonicalMIMEHeaderKey(name) != name {
			return false
		}
	}
	return true
}

// Sendable tells whether a header field can be sent at all, by any transport.
func Sendable(name string, values []string) bool {
	if !isToken(name) {
		return false
	}
	for _, v := range values {
		if !isValue(v) {
			return false
		}
	}
	return true
}

func bodied(req *http.Request) bool { return req.Body != nil && req.Body != http.NoBody }

func method(req *http.Request) string {
	if req.Method == "" {
		return http.MethodGet
	}
	return req.Method
}

// appendHead appends the head of an ordinary request. What it says of length, host and
// agent is what net/http would say.
func appendHead(b []byte, req *http.Request) []byte {
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	b = append(append(append(b, method(req)...), ' '), req.URL.RequestURI()...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), host...)
	if agent, given := req.Header["User-Agent"]; !given {
		b = append(b, "\r\nUser-Agent: Go-http-client/1.1"...)
	} else if len(agent) > 0 && agent[0] != "" {
		b = append(append(b, "\r\nUser-Agent: "...), trim(agent[0])...)
	}
	switch m := req.Method; {
	case bodied(req), m == http.MethodPost, m == http.MethodPut, m == http.MethodPatch:
		b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), req.ContentLength, 10)
	}
	if req.Close {
		b = append(b, "\r\nConnection: close"...)
	}
	for name, values := range req.Header {
		switch name {
		case "User-Agent", "Host", "Content-Length":
			continue
		}
		for _, v := range values {
			b = append(append(append(append(b, '\r', '\n'), name...), ':', ' '), trim(v)...)
		}
	}
	return append(b, "\r\n\r\n"...)
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
