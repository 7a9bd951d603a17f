//go:build unix

package h1

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
)

func secured(t *testing.T, h http.HandlerFunc) (*httptest.Server, *Transport) {
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = quietLog()
	s.StartTLS()
	trusted := x509.NewCertPool()
	trusted.AddCert(s.Certificate())
	tr := &Transport{Other: noOther{}, Dial: (&net.Dialer{}).DialContext, TLS: &tls.Config{RootCAs: trusted}}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		s.Close()
	})
	return s, tr
}

func to(t *testing.T, s *httptest.Server, body string) *http.Request {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/chat", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTLSConnectionsAreKept(t *testing.T) {
	var served atomic.Int32
	s, tr := secured(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		if r.ProtoMajor != 1 {
			t.Errorf("the request came by %s", r.Proto)
		}
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	})
	reused := 0
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if i.Reused {
			reused++
		}
	}}
	for _, size := range []int{1, 100, 40 << 10, 300 << 10, 1} {
		r := to(t, s, strings.Repeat("x", size))
		res, err := tr.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		if err != nil || len(b) != size || res.TLS == nil || !res.TLS.HandshakeComplete {
			t.Fatalf("%d bytes of %d came back: %v", len(b), size, err)
		}
	}
	if reused != 4 || served.Load() != 5 {
		t.Errorf("%d of %d requests went over a connection that was there", reused, served.Load())
	}
}

func TestAServerThatIsNotTrustedIsSentNothing(t *testing.T) {
	s, tr := secured(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was served") })
	tr.TLS = nil
	_, err := ask(tr, to(t, s, "secret"))
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok || !isUnsent(err) {
		t.Errorf("the error is %v", err)
	}
}

// What a server says under TLS while a connection waits is not taken for an answer.
func TestAnIdleTLSConnectionIsLookedAt(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(c *tls.Conn) error
	}{
		{"a farewell", func(c *tls.Conn) error { return c.CloseWrite() }},
		{"an answer before it was asked", func(c *tls.Conn) error { _, err := io.WriteString(c, okay); return err }},
		{"a connection that is cut", func(c *tls.Conn) error { return c.NetConn().Close() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, tr := secured(t, func(http.ResponseWriter, *http.Request) {})
			conns := make(chan *tls.Conn, 1)
			w := &network{serve: func(n int, p *peer) {
				conn := tls.Server(p.Conn, &tls.Config{Certificates: s.TLS.Certificates})
				q := &peer{conn, newReader(conn)}
				for {
					if _, _, err := q.request(); err != nil {
						return
					}
					q.say(okay)
					if n == 1 {
						conns <- conn
						break
					}
				}
				_, _ = io.Copy(io.Discard, p)
			}}
			tr.Dial = w.dial
			t.Cleanup(func() { tr.CloseIdleConnections(); w.all.Wait() })
			r := to(t, s, "body")
			mustAsk(t, tr, r, "ok")
			idle := tr.idle.conns[target{true, r.URL.Host}]
			for range 2 {
				if len(idle) != 1 || !idle[0].quiet() {
					t.Fatal("a connection on which nothing came is not quiet")
				}
			}
			if err := c.do(<-conns); err != nil {
				t.Fatal(err)
			}
			awaitBytes(t, idle[0])
			mustAsk(t, tr, to(t, s, "body"), "ok")
			if n := w.dials.Load(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
		})
	}
}
