package h1

import (
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
)

// failing is a client's end whose nth write fails after some bytes.
type failing struct {
	net.Conn
	at, after int
	writes    int
}

var errBroken = errors.New("broken pipe")

func (f *failing) Write(p []byte) (int, error) {
	if f.writes++; f.writes != f.at {
		return f.Conn.Write(p)
	}
	n := f.after
	if n < 0 {
		n += len(p)
	}
	if n > 0 { // a pipe waits for a reader of nothing too
		n, _ = f.Conn.Write(p[:n])
	}
	return n, errBroken
}

// What is not answered is never sent again, whatever the state of its connection was.
func TestARequestIsWrittenOnce(t *testing.T) {
	long := strings.Repeat("0123456789", 20<<10)
	for _, body := range []string{"short", long} {
		kinds(t, func(t *testing.T, pipes bool) {
			w := &network{pipes: pipes}
			w.serve = func(n int, p *peer) {
				for {
					_, got, err := p.request()
					if err != nil {
						return
					}
					if got[0] == '!' {
						w.requests.Add(1)
						return
					}
					p.say(okay)
				}
			}
			tr := w.transport(t)
			for i := range 3 {
				mustAsk(t, tr, post(t.Context(), body), "ok")
				_, err := ask(tr, post(t.Context(), "!"+body))
				if err == nil || isUnsent(err) || !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !isReset(err) {
					t.Errorf("the error is %v", err)
				}
				if n := int(w.requests.Load()); n != i+1 {
					t.Errorf("the server read %d requests, want %d", n, i+1)
				}
			}
		})
	}
}

func isReset(err error) bool {
	_, ok := errors.AsType[*net.OpError](err)
	return ok
}

func TestOnlyWhatIsWhollyUnwrittenGoesToAnotherConnection(t *testing.T) {
	long := strings.Repeat("0123456789", 20<<10)
	for _, c := range []struct {
		name  string
		body  string
		after int // bytes of the broken write that get through
		sent  bool
	}{
		{"none of a short one", "body", 0, true},
		{"none of a long one", long, 0, true},
		{"one byte of a short one", "body", 1, false},
		{"one byte of a long one", long, 1, false},
		{"all but one of a short one", "body", -1, false},
	} {
		virtual(t, c.name, func(t *testing.T) {
			w := &network{pipes: true}
			w.serve = func(n int, p *peer) {
				w.answering(okay)(n, p)
				_, _ = io.Copy(io.Discard, p)
			}
			w.wrap = func(n int, conn net.Conn) net.Conn {
				if n == 1 {
					return &failing{Conn: conn, at: 2, after: c.after}
				}
				return conn
			}
			tr := w.transport(t)
			mustAsk(t, tr, post(t.Context(), "first"), "ok")
			got, err := ask(tr, post(t.Context(), c.body))
			if c.sent {
				if err != nil || got != "ok" {
					t.Errorf("the answer is %q, %v", got, err)
				}
				if n := w.requests.Load(); n != 2 {
					t.Errorf("the servers read %d requests, want 2", n)
				}
				return
			}
			u, ok := errors.AsType[*UnsentError](err)
			if !ok || c.after >= 0 && u.Written != int64(c.after) || u.Written == 0 || !errors.Is(err, errBroken) {
				t.Errorf("the error is %#v", err)
			}
			if n, d := w.requests.Load(), w.dials.Load(); n != 1 || d != 1 {
				t.Errorf("the servers read %d requests on %d connections, want 1 on 1", n, d)
			}
		})
	}
}

func TestANewConnectionThatBreaksIsNotReplaced(t *testing.T) {
	virtual(t, "", func(t *testing.T) {
		w := &network{pipes: true, serve: func(_ int, p *peer) { _, _ = io.Copy(io.Discard, p) }}
		w.wrap = func(_ int, conn net.Conn) net.Conn { return &failing{Conn: conn, at: 1} }
		_, err := ask(w.transport(t), post(t.Context(), "body"))
		if u, ok := errors.AsType[*UnsentError](err); !ok || u.Written != 0 || !errors.Is(err, errBroken) {
			t.Errorf("the error is %v", err)
		}
		if n := w.dials.Load(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	})
}

func TestAFailedDialIsUnsent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	tr := &Transport{Other: noOther{}, Dial: (&net.Dialer{}).DialContext}
	r := post(t.Context(), "body")
	r.URL.Host = closed
	_, err = ask(tr, r)
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "dial" || !isUnsent(err) {
		t.Errorf("the error is %v", err)
	}
}

// tape counts what reaches the network.
type tape struct {
	net.Conn
	writes *int
}

func (c tape) Write(p []byte) (int, error) { *c.writes++; return c.Conn.Write(p) }

func TestARequestIsOneWrite(t *testing.T) {
	writes := 0
	w := &network{pipes: true}
	w.serve = w.answering(okay)
	w.wrap = func(_ int, c net.Conn) net.Conn { return tape{c, &writes} }
	tr := w.transport(t)
	for i, body := range []string{"", "x", strings.Repeat("x", 60<<10)} {
		mustAsk(t, tr, post(t.Context(), body), "ok")
		if writes != i+1 {
			t.Fatalf("%d writes for %d requests", writes, i+1)
		}
	}
}

func TestABodyThatIsTooShortIsNeverWhole(t *testing.T) {
	for _, size := range []int64{10, 200 << 10} {
		virtual(t, strconv.FormatInt(size, 10), func(t *testing.T) {
			w := &network{pipes: true}
			w.serve = w.answering(okay)
			tr := w.transport(t)
			r := post(t.Context(), strings.Repeat("x", int(size)-1))
			r.ContentLength = size
			if _, err := ask(tr, r); !errors.Is(err, errShortBody) || !isUnsent(err) {
				t.Errorf("the error is %v", err)
			}
			if n := w.requests.Load(); n != 0 {
				t.Errorf("the server read %d whole requests", n)
			}
		})
	}
}
