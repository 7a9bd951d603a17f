package h1

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// What cannot be sent as it stands is left to net/http, to mend or to refuse.
func TestWhatIsOutOfTheOrdinaryGoesToTheOtherTransport(t *testing.T) {
	for _, c := range []struct {
		name string
		odd  func(r *http.Request)
	}{
		{"a line break in a value", func(r *http.Request) { r.Header["X-A"] = []string{"a\r\nX-B: c"} }},
		{"a bare line feed", func(r *http.Request) { r.Header["X-A"] = []string{"a\nb"} }},
		{"a bare carriage return", func(r *http.Request) { r.Header["X-A"] = []string{"a\rb"} }},
		{"a zero byte", func(r *http.Request) { r.Header["X-A"] = []string{"a\x00"} }},
		{"a break in a second value", func(r *http.Request) { r.Header["X-A"] = []string{"a", "\n"} }},
		{"a break in a name", func(r *http.Request) { r.Header["X-A: b\r\nX-B"] = []string{"a"} }},
		{"a space in a name", func(r *http.Request) { r.Header["X-A "] = []string{"a"} }},
		{"no name", func(r *http.Request) { r.Header[""] = []string{"a"} }},
		{"a name in small letters", func(r *http.Request) { r.Header["content-length"] = []string{"1"} }},
		{"another user agent, broken", func(r *http.Request) { r.Header["User-Agent"] = []string{"a\nb"} }},
		{"a break in the host", func(r *http.Request) { r.Host = "a\r\nX: y" }},
		{"a host with a space", func(r *http.Request) { r.Host = "a b" }},
		{"a host in foreign letters", func(r *http.Request) { r.URL.Host, r.Host = "märkt.example", "" }},
		{"an address with a zone", func(r *http.Request) { r.URL.Host = "[fe80::1%eth0]" }},
		{"no host", func(r *http.Request) { r.URL.Host = "" }},
		{"a user in the address", func(r *http.Request) { r.URL.User = url.User("me") }},
		{"a break in the query", func(r *http.Request) { r.URL.RawQuery = "a\r\nX: y" }},
		{"a space in the query", func(r *http.Request) { r.URL.RawQuery = "a HTTP/1.1" }},
		{"an opaque address", func(r *http.Request) { r.URL.Opaque = "//a/b" }},
		{"another scheme", func(r *http.Request) { r.URL.Scheme = "ftp" }},
		{"no URL", func(r *http.Request) { r.URL = nil }},
		{"no header", func(r *http.Request) { r.Header = nil }},
		{"a method with a break", func(r *http.Request) { r.Method = "POST / HTTP/1.1\r\n" }},
		{"CONNECT", func(r *http.Request) { r.Method = http.MethodConnect }},
		{"a transfer encoding", func(r *http.Request) { r.TransferEncoding = []string{"chunked"} }},
		{"the same as a header", func(r *http.Request) { r.Header["Transfer-Encoding"] = []string{"chunked"} }},
		{"a trailer", func(r *http.Request) { r.Trailer = http.Header{"A": nil} }},
		{"a body of unknown length", func(r *http.Request) { r.ContentLength = -1 }},
		{"a body without a length", func(r *http.Request) { r.ContentLength = 0 }},
		{"a length without a body", func(r *http.Request) { r.Body = nil }},
		{"a word for the connection", func(r *http.Request) { r.Header["Connection"] = []string{"upgrade"} }},
		{"a wait for the server's leave", func(r *http.Request) { r.Header["Expect"] = []string{"100-continue"} }},
		{"a channel that cancels", func(r *http.Request) {
			//lint:ignore SA1019 net/http still honours it
			r.Cancel = make(chan struct{})
		}},
		{"a proxy", func(r *http.Request) { r.URL.Host = "behind.proxy" }},
		{"a proxy that cannot be named", func(r *http.Request) { r.URL.Host = "no.proxy" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &network{pipes: true}
			tr := w.transport(t)
			tr.Proxy = func(r *http.Request) (*url.URL, error) {
				switch r.URL.Host {
				case "behind.proxy":
					return url.Parse("http://proxy")
				case "no.proxy":
					return nil, errors.New("no")
				}
				return nil, nil
			}
			r := post(t.Context(), "body")
			c.odd(r)
			if _, err := tr.RoundTrip(r); err != errOther {
				t.Errorf("the error is %v", err)
			}
			if n := w.dials.Load(); n != 0 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// A server gets the same from both transports.
func TestAHeadSaysWhatThatOfNetHTTPSays(t *testing.T) {
	for _, c := range []struct {
		name  string
		other func(r *http.Request)
	}{
		{"a post", func(*http.Request) {}},
		{"a get", func(r *http.Request) { r.Method, r.Body, r.ContentLength = "", nil, 0 }},
		{"an empty post", func(r *http.Request) { r.Body, r.ContentLength = nil, 0 }},
		{"an empty put", func(r *http.Request) { r.Method, r.Body, r.ContentLength = http.MethodPut, http.NoBody, 0 }},
		{"a delete", func(r *http.Request) { r.Method, r.Body, r.ContentLength = http.MethodDelete, nil, 0 }},
		{"headers", func(r *http.Request) {
			r.Header = http.Header{"Authorization": {"Bearer key"}, "Traceparent": {"00-1-2-01"}, "X-A": {" a\t ", "", "b: c"}, "X-None": nil}
		}},
		{"letters in a value", func(r *http.Request) { r.Header["X-A"] = []string{"ä\xff"} }},
		{"an agent", func(r *http.Request) { r.Header["User-Agent"] = []string{" gridloop "} }},
		{"no agent", func(r *http.Request) { r.Header["User-Agent"] = []string{""} }},
		{"an agent that is not there", func(r *http.Request) { r.Header["User-Agent"] = nil }},
		{"headers that are not asked", func(r *http.Request) { r.Header["Host"], r.Header["Content-Length"] = []string{"b"}, []string{"99"} }},
		{"to be closed", func(r *http.Request) { r.Close = true }},
		{"another host", func(r *http.Request) { r.Host = "other.market:8080" }},
		{"a port", func(r *http.Request) { r.URL.Host, r.Host = "the.market:81", "" }},
		{"an address", func(r *http.Request) { r.URL.Host, r.Host = "[::1]:81", "" }},
		{"a path to be escaped", func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "/a b/ä?%/", "" }},
		{"a path that is escaped", func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/a/b", "/a%2Fb" }},
		{"no path", func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "", "" }},
		{"a query mark", func(r *http.Request) { r.URL.RawQuery, r.URL.ForceQuery = "", true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			type seen struct {
				line, host, body string
				length           int64
				close            bool
				header           http.Header
			}
			var got [2]seen
			for i := range got {
				w := &network{pipes: true, serve: func(_ int, p *peer) {
					r, body, err := p.request()
					if err != nil {
						t.Error(err)
						return
					}
					got[i] = seen{r.Method + " " + r.RequestURI + " " + r.Proto, r.Host, body, r.ContentLength, r.Close, r.Header}
					p.say(okay)
				}}
				var rt http.RoundTripper = w.transport(t)
				if i == 1 {
					std := &http.Transport{DialContext: w.dial, DisableCompression: true}
					defer std.CloseIdleConnections()
					rt = std
				}
				r := post(t.Context(), "body")
				c.other(r)
				mustAsk(t, rt, r, "ok")
				w.all.Wait()
			}
			a, b := got[0], got[1]
			if a.line != b.line || a.host != b.host || a.body != b.body || a.length != b.length || a.close != b.close || !maps.EqualFunc(a.header, b.header, equal) {
				t.Errorf("sent %+v\nwant %+v", a, b)
			}
		})
	}
}

func equal(a, b []string) bool { return strings.Join(a, "|") == strings.Join(b, "|") }

func TestATargetIsDialledByNameAndPort(t *testing.T) {
	for host, want := range map[string][2]string{
		"the.market":      {"the.market:80", "the.market"},
		"the.market:":     {"the.market:80", "the.market"},
		"the.market:8080": {"the.market:8080", "the.market"},
		"[::1]":           {"[::1]:80", "::1"},
		"[::1]:81":        {"[::1]:81", "::1"},
		"10.0.0.1":        {"10.0.0.1:80", "10.0.0.1"},
	} {
		to := target{false, host}
		if to.address() != want[0] || to.name() != want[1] {
			t.Errorf("%s: %s, %s; want %v", host, to.address(), to.name(), want)
		}
	}
	if a := (target{true, "the.market"}).address(); a != "the.market:443" {
		t.Error(a)
	}
}

func TestIdleConnectionsOfBothTransportsAreClosed(t *testing.T) {
	w := &network{pipes: true}
	w.serve = w.answering(okay)
	tr := w.transport(t)
	std := &http.Transport{DialContext: w.dial}
	tr.Other = std
	tr.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	mustAsk(t, tr, post(t.Context(), "body"), "ok")
	r := post(t.Context(), "body")
	r.ContentLength, r.Body = -1, io.NopCloser(strings.NewReader("body"))
	mustAsk(t, tr, r, "ok")
	tr.CloseIdleConnections()
	w.all.Wait()
	if n := w.dials.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}
