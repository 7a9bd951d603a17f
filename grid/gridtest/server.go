package gridtest

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// server is the loopback server behind [Market.URL].
type server struct {
	url   string
	http  *http.Server
	conns sync.WaitGroup
}

// URL starts a server on the loopback interface, the first time that it is
// called, and returns the base URL of the API on it, without a trailing slash.
// It panics when it cannot listen, as net/http/httptest does, and returns ""
// when the market was closed before.
func (m *Market) URL() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.server != nil {
		return m.server.url
	}
	if m.closed {
		return ""
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic("gridtest: cannot listen on the loopback interface: " + err.Error())
	}
	s := &server{url: "http://" + l.Addr().String() + "/v1"}
	s.http = &http.Server{
		Handler:           m.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return m.done },
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				s.conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				s.conns.Done()
			}
		},
	}
	m.server = s
	m.work.Go(func() { s.http.Serve(l) })
	return s.url
}

func (s *server) close() {
	s.http.Close()
	s.conns.Wait()
}
