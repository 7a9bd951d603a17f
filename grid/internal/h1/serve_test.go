package h1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is the server's end of a connection.
type peer struct {
	net.Conn
	in *bufio.Reader
}

// request reads one request with its body.
func (p *peer) request() (*http.Request, string, error) {
	r, err := http.ReadRequest(p.in)
	if err != nil {
		return nil, "", err
	}
	b, err := io.ReadAll(r.Body)
	return r, string(b), err
}

func (p *peer) say(s string) { _, _ = io.WriteString(p.Conn, s) }

// network is where a transport dials into: pipes in memory, or sockets.
type network struct {
	dials, requests atomic.Int32
	pipes           bool
	serve           func(n int, p *peer) // the nth connection, from 1
	all             sync.WaitGroup
	wrap            func(n int, c net.Conn) net.Conn // the client's end
}

func (w *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n := int(w.dials.Add(1))
	var client, server net.Conn
	if w.pipes {
		client, server = net.Pipe()
	} else {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
			return nil, err
		}
		if server, err = l.Accept(); err != nil {
			return nil, err
		}
	}
	w.all.Go(func() {
		defer server.Close()
		w.serve(n, &peer{server, bufio.NewReader(server)})
	})
	if w.wrap != nil {
		client = w.wrap(n, client)
	}
	return client, nil
}

// answering serves every request of a connection with the same bytes.
func (w *network) answering(answer string) func(int, *peer) {
	return func(_ int, p *peer) {
		for {
			if _, _, err := p.request(); err != nil {
				return
			}
			w.requests.Add(1)
			p.say(answer)
		}
	}
}

// noOther is for tests in which everything is sent by the transport itself.
type noOther struct{}

var errOther = errors.New("the request went to the other transport")

func (noOther) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return nil, errOther
}

func (w *network) transport(t *testing.T) *Transport {
	tr := &Transport{Other: noOther{}, Dial: w.dial}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		w.all.Wait()
	})
	return tr
}

const okay = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func post(ctx context.Context, body string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://the.market/v1/chat?x=1", nil)
	if err != nil {
		panic(err)
	}
	if body != "" {
		r.Body = io.NopCloser(strings.NewReader(body))
	}
	r.ContentLength = int64(len(body))
	return r
}

// ask sends a request and reads its answer.
func ask(rt http.RoundTripper, r *http.Request) (string, error) {
	res, err := rt.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func mustAsk(t *testing.T, rt http.RoundTripper, r *http.Request, want string) {
	t.Helper()
	if got, err := ask(rt, r); err != nil || got != want {
		t.Fatalf("the answer is %q, %v; want %q", got, err, want)
	}
}

func isUnsent(err error) bool {
	_, ok := errors.AsType[*UnsentError](err)
	return ok
}

func kinds(t *testing.T, f func(t *testing.T, pipes bool)) {
	t.Run("pipe", func(t *testing.T) { f(t, true) })
	t.Run("socket", func(t *testing.T) { f(t, false) })
}

// virtual runs a test in virtual time; its connections are pipes.
func virtual(t *testing.T, name string, f func(t *testing.T)) {
	if name == "" {
		synctest.Test(t, f)
		return
	}
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func goroutines() int { return runtime.NumGoroutine() }

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

func quietLog() *log.Logger { return log.New(io.Discard, "", 0) }
