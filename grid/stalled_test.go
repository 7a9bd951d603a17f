package grid_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid"
)

// stalled is a body of which a part comes, and no more until it is closed.
type stalled struct {
	io.Reader
	once   sync.Once
	closed chan bool
}

func (s *stalled) Read(p []byte) (int, error) {
	if n, err := s.Reader.Read(p); err == nil {
		return n, nil
	}
	<-s.closed
	return 0, http.ErrBodyReadAfterClose
}

func (s *stalled) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// An error whose text does not come is known by its status.
func TestTheTextOfAnErrorIsNotWaitedForWithoutEnd(t *testing.T) {
	for _, how := range []string{"chat", "doer"} {
		synctest.Test(t, func(t *testing.T) {
			c := client(t, "https://market.test", func(cfg *grid.Config) {
				noRetries(cfg)
				cfg.HTTPClient = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: 400, Header: http.Header{}, Request: r,
						Body: &stalled{Reader: strings.NewReader(`{"errors":{"detail":"so`), closed: make(chan bool)}}, nil
				})}
			})
			o := &watch{}
			began := time.Now()
			if how == "chat" {
				req := ask("hi")
				req.Observer = o
				if _, err := c.Chat(t.Context(), req); err == nil {
					t.Error("no error")
				}
			} else {
				r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://market.test/v1/chat/completions", strings.NewReader(`{"model":"agent-prime","messages":[]}`))
				res, err := c.DoerWith(grid.DoerOptions{Observer: o}).Do(r)
				if err != nil || res.StatusCode != 400 {
					t.Errorf("%+v, %v", res, err)
				} else if b, _ := io.ReadAll(res.Body); string(b) != `{"errors":{"detail":"so` {
					t.Errorf("existing code reads %q", b)
				}
			}
			if took := time.Since(began); took != 10*time.Second || o.ends != 1 || o.verdicts[0].Billed != grid.BilledNo || o.verdicts[0].Status != 400 {
				t.Errorf("%s: after %v, verdicts %+v", how, took, o.verdicts)
			}
		})
	}
}
