//go:build unix

package h1

import (
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestAConnectionIsUsedAgainOnlyWhereThatIsSafe(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer string
		method string
		closes bool // the request asks for it
		read   int  // bytes of the body, then it is closed; all if less than 0
		again  bool
	}{
		{name: "a length", answer: okay, read: -1, again: true},
		{name: "chunks", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n", read: -1, again: true},
		{name: "no content", answer: "HTTP/1.1 204 No Content\r\n\r\n", read: -1, again: true},
		{name: "an empty body", answer: "HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\n\r\n", read: -1, again: true},
		{name: "an interim answer before", answer: "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + okay, read: -1, again: true},
		{name: "a body that is at hand and not read", answer: okay, read: 0, again: true},
		{name: "the same, closed midway", answer: okay, read: 1, again: true},
		{name: "a long body that is not read", answer: "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000), read: 1},
		{name: "chunks that are not read", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", read: 0},
		{name: "the server wants to close", answer: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", read: -1},
		{name: "the request wants to close", answer: okay, closes: true, read: -1},
		{name: "HTTP/1.0", answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", read: -1},
		{name: "HTTP/1.0 that stays", answer: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", read: -1, again: true},
		{name: "bytes behind the answer", answer: okay + "H", read: -1},
		{name: "an answer behind the answer", answer: okay + okay, read: -1},
		{name: "bytes behind an empty answer", answer: "HTTP/1.1 204 No Content\r\n\r\nok", read: -1},
		{name: "an odd status", answer: "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n", read: -1},
		{name: "a HEAD", method: http.MethodHead, answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", read: -1, again: true},
		{name: "a HEAD that is answered with a body", method: http.MethodHead, answer: okay, read: -1},
	} {
		virtual(t, c.name, func(t *testing.T) {
			w := &network{pipes: true}
			w.serve = w.answering(c.answer)
			tr := w.transport(t)
			for range 2 {
				r := post(t.Context(), "")
				r.Close = c.closes
				if c.method != "" {
					r.Method = c.method
				}
				res, err := tr.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				if c.read < 0 {
					_, err = io.Copy(io.Discard, res.Body)
				} else {
					_, err = io.ReadFull(res.Body, make([]byte, c.read))
				}
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				if _, err := res.Body.Read(make([]byte, 1)); err == nil {
					t.Error("a body that was closed can be read")
				}
				synctest.Wait()
			}
			if n, want := w.dials.Load(), int32(2); c.again && n != 1 || !c.again && n != want {
				t.Errorf("%d connections for two requests", n)
			}
		})
	}
}

// The kernel is asked before a connection is used again.
func TestAnIdleConnectionIsLookedAt(t *testing.T) {
	for _, c := range []struct {
		name  string
		after string // what the server sends, unasked, behind its answer
	}{{"closed", ""}, {"answered before it was asked", okay}, {"a stray byte", "\n"}} {
		kinds(t, func(t *testing.T, pipes bool) {
			if pipes && c.after != "" {
				return // a pipe holds nothing that was not read
			}
			now := make(chan bool)
			w := &network{pipes: pipes}
			w.serve = func(n int, p *peer) {
				if n > 1 {
					w.answering(okay)(n, p)
					return
				}
				_, _, _ = p.request()
				w.requests.Add(1)
				p.say(okay)
				<-now
				if c.after == "" {
					_ = p.Close()
				} else {
					p.say(c.after)
					<-now
				}
				<-now
			}
			tr := w.transport(t)
			mustAsk(t, tr, post(t.Context(), "body"), "ok")
			conn := tr.idle.conns[target{false, "the.market"}][0]
			for range 2 {
				if !conn.quiet() {
					t.Fatal("a connection on which nothing came is not quiet")
				}
			}
			now <- true
			if c.after != "" {
				now <- true // said
			}
			awaitBytes(t, conn)
			mustAsk(t, tr, post(t.Context(), "body"), "ok")
			close(now)
			if n := w.requests.Load(); n != 2 {
				t.Errorf("the servers read %d requests, want 2", n)
			}
			if n := w.dials.Load(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
		})
	}
}

func TestIdleConnectionsAreBoundedInNumberAndTime(t *testing.T) {
	virtual(t, "", func(t *testing.T) {
		w := &network{pipes: true}
		w.serve = w.answering(okay)
		tr := w.transport(t)
		tr.MaxIdle, tr.IdleTimeout = 3, 90*time.Second
		parallel := func(n int) {
			var all []*http.Response
			for range n {
				res, err := tr.RoundTrip(post(t.Context(), ""))
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, res)
			}
			for _, res := range all {
				if _, err := io.ReadAll(res.Body); err != nil {
					t.Fatal(err)
				}
			}
		}
		waiting := func() (n int) {
			synctest.Wait()
			tr.idle.mu.Lock()
			defer tr.idle.mu.Unlock()
			for _, all := range tr.idle.conns {
				n += len(all)
			}
			return n
		}
		parallel(5)
		if n := waiting(); n != 3 {
			t.Fatalf("%d connections wait, want 3", n)
		}
		time.Sleep(60 * time.Second)
		parallel(1)
		time.Sleep(31 * time.Second)
		if n := waiting(); n != 1 {
			t.Fatalf("%d connections wait after 91 s, want the one that was used in between", n)
		}
		time.Sleep(60 * time.Second)
		if n := waiting(); n != 0 {
			t.Fatalf("%d connections wait for nothing", n)
		}
		w.all.Wait() // the servers saw all of them end
		parallel(2)
		tr.CloseIdleConnections()
		if n := waiting(); n != 0 {
			t.Fatalf("%d connections were not closed", n)
		}
		w.all.Wait()
		parallel(1)
		time.Sleep(91 * time.Second)
		if n := waiting(); n != 0 {
			t.Fatalf("%d connections wait, though they were closed once before", n)
		}
	})
}

func TestConnectionsAreNotShared(t *testing.T) {
	virtual(t, "", func(t *testing.T) {
		w := &network{pipes: true}
		w.serve = w.answering(okay)
		tr := w.transport(t)
		for i, host := range []string{"a.market", "b.market", "a.market:81"} {
			r := post(t.Context(), "")
			r.URL.Host = host
			mustAsk(t, tr, r, "ok")
			if n := int(w.dials.Load()); n != i+1 {
				t.Errorf("%s: %d connections, want %d", host, n, i+1)
			}
		}
	})
}

// A request that waits costs the caller's goroutine and none besides.
func TestARequestThatWaitsHasNoGoroutineOfItsOwn(t *testing.T) {
	virtual(t, "", func(t *testing.T) {
		const callers = 100
		answer := make(chan bool)
		w := &network{pipes: true, serve: func(_ int, p *peer) {
			_, _, _ = p.request()
			<-answer
			p.say(okay)
		}}
		tr := w.transport(t)
		before := goroutines()
		done := make(chan error)
		for range callers {
			go func() {
				_, err := ask(tr, post(t.Context(), "body"))
				done <- err
			}()
		}
		synctest.Wait()
		if n := goroutines() - before; n > 2*callers { // the caller and the server
			t.Errorf("%d goroutines for %d callers and as many servers", n, callers)
		}
		close(answer)
		for range callers {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// awaitBytes waits until the kernel has something for a connection, without taking it.
func awaitBytes(t *testing.T, c *conn) {
	t.Helper()
	if c.wire.raw == nil {
		return
	}
	if err := c.wire.raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return err != syscall.EAGAIN
	}); err != nil {
		t.Fatal(err)
	}
}
