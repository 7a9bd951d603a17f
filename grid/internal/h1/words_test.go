package h1

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
)

// A server that sends back what it was sent does not put it into an error.
func TestErrorsDoNotRepeatTheServer(t *testing.T) {
	const secret = `{"messages":"sesame"}`
	for _, answer := range []string{
		secret + "\r\n\r\n",
		"HTTP/1.1 2" + secret + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\n" + strings.ReplaceAll(secret, ":", "") + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\n" + strings.ReplaceAll(secret, ":", ""),
		"HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secret + "\r\n\r\n",
	} {
		w := &network{pipes: true, serve: func(_ int, p *peer) {
			_, _, _ = p.request()
			p.say(answer)
		}}
		_, err := ask(w.transport(t), post(t.Context(), "body"))
		if err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%q: the error is %v", answer, err)
		}
	}
}

// slowReader is a connection whose next read returns when it is told to, whatever
// happened meanwhile.
type slowReader struct {
	net.Conn
	slow bool
	held chan bool
}

func (s *slowReader) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if s.slow && n > 0 {
		s.held <- true
		<-s.held
	}
	return n, err
}

// The last bytes have come when the body is closed: what cuts the connection comes too
// late for them, and would stay for the next request.
func TestAConnectionThatWasCutIsNotKept(t *testing.T) {
	virtual(t, "", func(t *testing.T) {
		rest := make(chan bool)
		var client *slowReader
		w := &network{pipes: true, serve: func(_ int, p *peer) {
			_, _, _ = p.request()
			p.say(okay[:len(okay)-1])
			<-rest
			p.say(okay[len(okay)-1:])
			_, _ = p.Read(make([]byte, 1))
		}}
		w.wrap = func(_ int, c net.Conn) net.Conn {
			client = &slowReader{Conn: c, held: make(chan bool)}
			return client
		}
		tr := w.transport(t)
		res, err := tr.RoundTrip(post(t.Context(), "body"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(res.Body, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		client.slow = true
		read := make(chan error)
		go func() {
			_, err := io.ReadAll(res.Body)
			read <- err
		}()
		close(rest)
		<-client.held
		_ = res.Body.Close()
		client.held <- true
		if err := <-read; err != nil && !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("the read ended with %v", err)
		}
		synctest.Wait()
		for to, all := range tr.idle.conns {
			if len(all) > 0 {
				t.Errorf("a connection to %v is kept", to)
			}
		}
	})
}
