package h1

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A context that ends at any moment ends the request, and its connection with it.
func TestTheContextEndsARequestAtEveryMoment(t *testing.T) {
	long := strings.Repeat("0123456789", 20<<10)
	for _, c := range []struct {
		name   string
		body   string
		serve  func(p *peer) // until the connection is closed
		secure bool
		unsent bool
		inBody bool
	}{
		{name: "in the TLS handshake", body: "body", secure: true, unsent: true, serve: func(p *peer) {}},
		{name: "while a short request is written", body: "body", unsent: true, serve: func(p *peer) { _, _ = p.Read(make([]byte, 1)) }},
		{name: "while a long request is written", body: long, unsent: true, serve: func(p *peer) { _, _ = p.Read(make([]byte, 100<<10)) }},
		{name: "before an answer", body: "body", serve: func(p *peer) { _, _, _ = p.request() }},
		{name: "before an answer to a long request", body: long, serve: func(p *peer) { _, _, _ = p.request() }},
		{name: "in the head", body: "body", serve: func(p *peer) { _, _, _ = p.request(); p.say("HTTP/1.1 200 OK\r\nCont") }},
		{name: "in the body", body: "body", inBody: true, serve: func(p *peer) { _, _, _ = p.request(); p.say(okay[:len(okay)-1]) }},
		{name: "in a chunked body", body: long, inBody: true, serve: func(p *peer) {
			_, _, _ = p.request()
			p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\no")
		}},
	} {
		for _, end := range []string{"canceled", "deadline"} {
			virtual(t, c.name+", "+end, func(t *testing.T) {
				w := &network{pipes: true, serve: func(_ int, p *peer) {
					c.serve(p)
					_, _ = io.Copy(io.Discard, readNever{p.Conn})
				}}
				tr := w.transport(t)
				why := errors.New("the caller left")
				ctx, cancel := context.WithCancelCause(t.Context())
				want := why
				if end == "deadline" {
					var stop context.CancelFunc
					ctx, stop = context.WithTimeout(t.Context(), time.Hour)
					defer stop()
					want = context.DeadlineExceeded
				} else {
					time.AfterFunc(time.Hour, func() { cancel(why) })
				}
				defer cancel(nil)
				r := post(ctx, c.body)
				if c.secure {
					r.URL.Scheme = "https"
				}
				began := time.Now()
				res, err := tr.RoundTrip(r)
				if (err == nil) != c.inBody {
					t.Fatalf("the request ended with %v", err)
				}
				if err == nil {
					_, err = io.ReadAll(res.Body)
					if _, again := res.Body.Read(make([]byte, 1)); !errors.Is(again, want) {
						t.Errorf("a second read ends with %v", again)
					}
					_ = res.Body.Close()
				}
				if !errors.Is(err, want) || isUnsent(err) != c.unsent {
					t.Errorf("the error is %v, unsent: %t", err, isUnsent(err))
				}
				if took := time.Since(began); took != time.Hour {
					t.Errorf("it took %v", took)
				}
				synctest.Wait()
				if n := len(tr.idle.conns); n != 0 {
					t.Errorf("%d connections are kept", n)
				}
				w.all.Wait() // the server saw the end of the connection
			})
		}
	}
}

// readNever hides what a connection has to say, but for its end.
type readNever struct{ net.Conn }

func (r readNever) Read(p []byte) (int, error) {
	for {
		// A pipe that is read would take what is being written.
		_ = r.SetWriteDeadline(time.Now().Add(time.Minute))
		if _, err := r.Conn.Write([]byte{}); err == io.ErrClosedPipe {
			return 0, err
		}
		time.Sleep(time.Minute)
	}
}

func TestADialIsGivenTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	tr := &Transport{Other: noOther{}, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		cancel()
		<-ctx.Done()
		return nil, errors.New("operation was canceled")
	}}
	if _, err := ask(tr, post(ctx, "body")); !errors.Is(err, context.Canceled) || !isUnsent(err) {
		t.Errorf("the error is %v", err)
	}
}

func TestAContextThatHasEndedSendsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := &network{pipes: true}
	if _, err := ask(w.transport(t), post(ctx, "body")); !errors.Is(err, context.Canceled) || !isUnsent(err) {
		t.Errorf("the error is %v", err)
	}
	if n := w.dials.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

func TestACancelAfterTheAnswerHarmsNobody(t *testing.T) {
	w := &network{pipes: true}
	w.serve = w.answering(okay)
	tr := w.transport(t)
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		mustAsk(t, tr, post(ctx, "body"), "ok")
		cancel()
	}
	if n := w.dials.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// The whole answer is at hand when the context ends: what ends the connection may
// still be on its way.
func TestAConnectionWhoseContextEndedIsNotKept(t *testing.T) {
	virtual(t, "", func(t *testing.T) {
		w := &network{pipes: true}
		w.serve = w.answering(okay)
		tr := w.transport(t)
		ctx, cancel := context.WithCancel(t.Context())
		res, err := tr.RoundTrip(post(ctx, "body"))
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		if b, err := io.ReadAll(res.Body); string(b) != "ok" || err != nil {
			t.Errorf("the answer is %q, %v", b, err)
		}
		if n := len(tr.idle.conns); n != 0 {
			t.Errorf("%d connections are kept", n)
		}
		w.all.Wait()
	})
}

// last is a client's end that tells of the end beside the last bytes.
type last struct{ net.Conn }

func (l last) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if err == nil {
		err = io.EOF
	}
	return n, err
}

func TestAConnectionThatToldOfItsEndIsNotKept(t *testing.T) {
	w := &network{pipes: true}
	w.serve = w.answering(okay)
	w.wrap = func(_ int, c net.Conn) net.Conn { return last{c} }
	tr := w.transport(t)
	mustAsk(t, tr, post(t.Context(), "body"), "ok")
	if n := len(tr.idle.conns); n != 0 {
		t.Errorf("%d connections are kept", n)
	}
}

func TestABodyMayBeClosedWhileItIsRead(t *testing.T) {
	virtual(t, "", func(t *testing.T) {
		w := &network{pipes: true, serve: func(_ int, p *peer) {
			_, _, _ = p.request()
			p.say(okay[:len(okay)-1])
			_, _ = p.Read(make([]byte, 1))
		}}
		tr := w.transport(t)
		res, err := tr.RoundTrip(post(t.Context(), "body"))
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Minute, func() { _ = res.Body.Close() })
		if _, err := io.ReadAll(res.Body); err != http.ErrBodyReadAfterClose {
			t.Errorf("the read ended with %v", err)
		}
		w.all.Wait()
	})
}

func TestASlowHandshakeEnds(t *testing.T) {
	virtual(t, "", func(t *testing.T) {
		w := &network{pipes: true, serve: func(_ int, p *peer) { _, _ = io.Copy(io.Discard, p) }}
		tr := w.transport(t)
		tr.HandshakeTimeout = 10 * time.Second
		r := post(t.Context(), "body")
		r.URL.Scheme = "https"
		_, err := ask(tr, r)
		if n, ok := errors.AsType[net.Error](err); !ok || !n.Timeout() || !isUnsent(err) {
			t.Errorf("the error is %v", err)
		}
		w.all.Wait()
	})
}
