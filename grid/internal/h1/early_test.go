package h1

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const refusal = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\ntoo long"

// A server may answer before it has read the request, and need not read the rest.
func TestAnEarlyAnswerIsSeen(t *testing.T) {
	for _, size := range []int{100, 8 << 20} {
		for _, c := range []struct {
			name  string
			serve func(p *peer, stay chan bool)
		}{
			{"and the connection stays open, unread", func(p *peer, stay chan bool) {
				_, _ = http.ReadRequest(p.in)
				p.say(refusal)
				<-stay
			}},
			{"and the server stops reading", func(p *peer, stay chan bool) {
				_, _ = http.ReadRequest(p.in)
				p.say(refusal)
				if c, ok := p.Conn.(interface{ CloseWrite() error }); ok {
					_ = c.CloseWrite()
					<-stay
				}
			}},
			{"and the rest is read later", func(p *peer, stay chan bool) {
				r, _ := http.ReadRequest(p.in)
				p.say(refusal)
				<-stay
				_, _ = io.Copy(io.Discard, r.Body)
			}},
		} {
			t.Run(c.name, func(t *testing.T) {
				kinds(t, func(t *testing.T, pipes bool) {
					if pipes && size < sendBuffer {
						return // a pipe takes no byte that is not read
					}
					stay := make(chan bool)
					w := &network{pipes: pipes, serve: func(_ int, p *peer) { c.serve(p, stay) }}
					tr := w.transport(t)
					res, err := tr.RoundTrip(post(t.Context(), strings.Repeat("x", size)))
					if err != nil {
						t.Fatal(err)
					}
					b, err := io.ReadAll(res.Body)
					if res.StatusCode != http.StatusRequestEntityTooLarge || string(b) != "too long" || err != nil {
						t.Errorf("the answer is %d %q, %v", res.StatusCode, b, err)
					}
					close(stay)
					_ = res.Body.Close()
					if size > sendBuffer && len(tr.idle.conns) != 0 {
						t.Error("a connection is kept on which a request was not written whole")
					}
				})
			})
		}
	}
}

// A server that read enough to refuse, answered and closed: its answer counts, not the
// write that broke.
func TestAnAnswerBeforeABrokenWriteIsSeen(t *testing.T) {
	virtual(t, "", func(t *testing.T) {
		w := &network{pipes: true, serve: func(_ int, p *peer) { p.say(refusal) }}
		w.wrap = func(_ int, conn net.Conn) net.Conn { return &failing{Conn: conn, at: 1} }
		tr := w.transport(t)
		mustAsk(t, tr, post(t.Context(), "body"), "too long")
		if len(tr.idle.conns) != 0 {
			t.Error("a connection is kept on which a write failed")
		}
	})
}

func TestABrokenWriteIsNotFollowedByALongWait(t *testing.T) {
	for _, body := range []string{"body", strings.Repeat("x", 1<<20)} {
		virtual(t, body[:4], func(t *testing.T) {
			w := &network{pipes: true, serve: func(_ int, p *peer) {
				_, _ = p.Read(make([]byte, 1))
				_, _ = io.Copy(io.Discard, readNever{p.Conn})
			}}
			w.wrap = func(_ int, conn net.Conn) net.Conn { return &failing{Conn: conn, at: 1, after: 1} }
			began := time.Now()
			if _, err := ask(w.transport(t), post(t.Context(), body)); !isUnsent(err) {
				t.Errorf("the error is %v", err)
			}
			if took := time.Since(began); took != lastWords {
				t.Errorf("it took %v", took)
			}
			synctest.Wait()
		})
	}
}
