package grid

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gridloop/gridloop/grid/internal/h1"
)

// noNet refuses what the transport of our own would not send itself.
type noNet struct{ t *testing.T }

func (n noNet) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Errorf("%s %s with %v went to net/http", r.Method, r.URL.Path, r.Header)
	return nil, errors.New("not here")
}

// All that a client says goes over connections of our own, which are kept, through
// redirects, errors and streams, until the client is closed.
func TestAClientTalksOverFewConnectionsOfItsOwn(t *testing.T) {
	if !h1.CanLook {
		t.Skip("net/http does it here")
	}
	var opened, closed atomic.Int32
	over := make(chan bool, 10)
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/consume?token=a", http.StatusTemporaryRedirect)
	})
	turn := 0
	mux.HandleFunc("/consume", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.Header.Get("Traceparent") != "00-1-2-01" || r.ContentLength != int64(len(b)) {
			t.Errorf("the market was sent %v", r.Header)
		}
		switch turn++; {
		case turn%3 == 0:
			http.Error(w, `{"error":{"message":"no"}}`, http.StatusBadRequest)
		case strings.Contains(string(b), `"stream":true`):
			_, _ = io.WriteString(w, "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n")
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, "data: [DONE]\n\n")
		default:
			_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}`)
		}
	})
	mux.HandleFunc("/v1/models", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, `{"data":[]}`) })
	s := httptest.NewUnstartedServer(mux)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
		case http.StateClosed:
			closed.Add(1)
			over <- true
		}
	}
	s.Start()
	defer s.Close()
	c, err := New(Config{APIKey: "a-consumption-key", BaseURL: s.URL + "/v1"})
	if err != nil {
		t.Fatal(err)
	}
	own, ok := c.transport.(*h1.Transport)
	if !ok {
		t.Fatalf("the transport is a %T", c.transport)
	}
	own.Other = noNet{t}
	for i := range 12 {
		_, err := c.Chat(t.Context(), &Request{
			Instrument: "agent-prime", Messages: []Message{UserMessage("hi")}, Stream: i%2 == 0, OnDelta: func(Delta) {},
			Header: http.Header{"traceparent": {"00-1-2-01"}},
		})
		if (err != nil) != (i%3 == 2) {
			t.Fatalf("call %d: %v", i, err)
		}
		if i == 6 {
			if _, err := c.get(t.Context(), "models"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if opened.Load() != 1 || closed.Load() != 0 {
		t.Errorf("%d connections were opened and %d closed", opened.Load(), closed.Load())
	}
	if err := c.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range opened.Load() {
		<-over
	}
}
