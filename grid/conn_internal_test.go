package grid

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/gridloop/gridloop/grid/internal/h1"
)

// tape is a connection that keeps what is written, write by write.
type tape struct {
	net.Conn
	writes []string
	broken error
}

func (t *tape) Write(p []byte) (int, error) {
	if t.broken != nil {
		return 0, t.broken
	}
	t.writes = append(t.writes, string(p))
	return len(p), nil
}

func (t *tape) Close() error { t.broken = net.ErrClosed; return nil }

func taped() (*tape, *bufferedConn) {
	t := &tape{}
	return t, &bufferedConn{Conn: t, buffers: &sync.Pool{New: func() any { b := make([]byte, 64); return &b }}}
}

const aHead = "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n"

func TestOnlyAHeadWhoseBodyComesNextIsHeldBack(t *testing.T) {
	for _, c := range []struct {
		name, head string
		held       bool
	}{
		{"a post with a body", aHead, true},
		{"a get", "GET / HTTP/1.1\r\nContent-Length: 4\r\n\r\n", false},
		{"no body", "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", false},
		{"a body without a length", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", false},
		{"one that waits for the server", "POST / HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n", false},
		{"part of a head", "POST / HTTP/1.1\r\nContent-Length: 4\r\n", false},
		{"a head with its body", aHead + "body", false},
		{"a head and a body that ends like one", aHead + "\r\n\r\n", false},
		{"bytes of TLS", "\x17\x03\x03POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n", false},
		{"nothing", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			wire, conn := taped()
			if n, err := conn.Write([]byte(c.head)); n != len(c.head) || err != nil {
				t.Fatalf("wrote %d, %v", n, err)
			}
			if held := len(wire.writes) == 0; held != c.held {
				t.Fatalf("held back: %t, want %t", held, c.held)
			}
		})
	}
}

func TestAHeadGoesOutWithItsBody(t *testing.T) {
	long := strings.Repeat("0123456789", 50)
	for _, c := range []struct {
		name string
		body io.Reader
		want []string
	}{
		{"at once", strings.NewReader("body"), []string{aHead + "body"}},
		{"with the end told beside the last byte", iotest.DataErrReader(strings.NewReader("body")), []string{aHead + "body"}},
		{"with as much as there is yet", iotest.OneByteReader(strings.NewReader("body")), []string{aHead + "b", "o", "d", "y"}},
		{"with none", strings.NewReader(""), []string{aHead}},
		{"before a body that fails", iotest.ErrReader(io.ErrUnexpectedEOF), []string{aHead}},
	} {
		t.Run(c.name, func(t *testing.T) {
			wire, conn := taped()
			conn.buffers.New = func() any { b := make([]byte, 128); return &b }
			if _, err := conn.Write([]byte(aHead)); err != nil {
				t.Fatal(err)
			}
			n, err := conn.ReadFrom(c.body)
			if got := strings.Join(wire.writes, "|"); got != strings.Join(c.want, "|") {
				t.Errorf("written %q, want %q", wire.writes, c.want)
			}
			if want := len(strings.Join(c.want, "")) - len(aHead); n != int64(want) {
				t.Errorf("counted %d bytes of the body, want %d (%v)", n, want, err)
			}
		})
	}
	t.Run("longer than the buffer", func(t *testing.T) {
		for _, size := range []int{len(aHead), 64, 2*len(aHead) + 1, 200} {
			wire, conn := taped()
			conn.buffers.New = func() any { b := make([]byte, size); return &b }
			if _, err := conn.Write([]byte(aHead)); err != nil {
				t.Fatal(err)
			}
			if n, err := conn.ReadFrom(strings.NewReader(long)); n != int64(len(long)) || err != nil {
				t.Errorf("counted %d, %v", n, err)
			}
			if got := strings.Join(wire.writes, ""); got != aHead+long {
				t.Errorf("written %q", got)
			}
		}
	})
	t.Run("before another write", func(t *testing.T) {
		wire, conn := taped()
		for _, p := range []string{aHead, "body", aHead} {
			if _, err := conn.Write([]byte(p)); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Join(wire.writes, "|"); got != aHead+"|body" {
			t.Errorf("written %q", got)
		}
	})
}

func TestABrokenConnectionSaysWhetherAnythingWentOut(t *testing.T) {
	reset := errors.New("connection reset")
	var unsent *h1.UnsentError
	t.Run("closed before the head", func(t *testing.T) {
		_, conn := taped()
		_ = conn.Close()
		if n, err := conn.Write([]byte(aHead)); n != 0 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("wrote %d, %v", n, err)
		}
	})
	t.Run("broken before the first byte", func(t *testing.T) {
		wire, conn := taped()
		_, _ = conn.Write([]byte(aHead))
		wire.broken = reset
		if n, err := conn.ReadFrom(strings.NewReader("body")); n != 0 || !errors.As(err, &unsent) || !errors.Is(err, reset) {
			t.Errorf("wrote %d, %v", n, err)
		}
	})
	t.Run("broken in the body", func(t *testing.T) {
		wire, conn := taped()
		_, _ = conn.Write([]byte(aHead))
		body := io.MultiReader(strings.NewReader("bo"), readerFunc(func(p []byte) (int, error) { wire.broken = reset; return copy(p, "dy"), nil }))
		if n, err := conn.ReadFrom(body); n != 2 || errors.As(err, &unsent) || !errors.Is(err, reset) {
			t.Errorf("wrote %d, %v", n, err)
		}
	})
	t.Run("the exchange is told", func(t *testing.T) {
		x := exchange{first: nil}
		x.body = &body{segments: [5][]byte{[]byte("body")}}
		x.body.seal()
		x.client = &Client{}
		if sig, dial := x.signalOf(fmt.Errorf("write: %w", &h1.UnsentError{Err: reset})); sig != sigUnsent || dial {
			t.Errorf("signal %v, dial %t", sig, dial)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// countedConn counts the writes that reach the network.
type countedConn struct {
	net.Conn
	writes *int
}

func (c countedConn) Write(p []byte) (int, error) { *c.writes++; return c.Conn.Write(p) }

func TestARequestCostsOneWrite(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	}))
	defer server.Close()
	writes := 0
	transport := netTransport()
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if b, ok := conn.(*bufferedConn); ok {
			b.Conn = countedConn{b.Conn, &writes}
		}
		return conn, err
	}
	defer transport.CloseIdleConnections()
	for i := range 3 {
		b := &body{segments: [5][]byte{[]byte("hello"), []byte(strings.Repeat(" ", 9000))}}
		b.seal()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, &bodyReader{from: b, sent: new(atomic.Bool)})
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = b.size
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || int64(len(got)) != b.size {
			t.Fatalf("%d bytes came back of %d: %v", len(got), b.size, err)
		}
		if writes != i+1 {
			t.Fatalf("%d writes for %d requests", writes, i+1)
		}
	}
}
