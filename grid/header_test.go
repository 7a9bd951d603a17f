package grid_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid"
)

// A header that cannot be sent is the caller's mistake, and stays one however often it
// is tried.
func TestAHeaderThatCannotBeSentIsRefusedAtOnce(t *testing.T) {
	for _, h := range []http.Header{
		{"X-Note": {"fine", "sesame\r\nX-More: 1"}},
		{"X-Note": {"sesame\x00"}},
		{"X Note": {"sesame"}},
		{"X-Note\r\nX-More": {"sesame"}},
		{"": {"sesame"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			c := client(t, "https://market.test", func(cfg *grid.Config) {
				cfg.HTTPClient = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
					asked++
					return nil, errors.New("net/http: invalid header field")
				})}
			})
			req := ask("hi")
			req.Header = h
			began := time.Now()
			_, err := c.Chat(t.Context(), req)
			e, ok := errors.AsType[*grid.Error](err)
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://market.test/v1/chat/completions", strings.NewReader(`{"model":"agent-prime","messages":[]}`))
			r.Header = h
			if _, err := c.Doer().Do(r); err == nil {
				t.Error("existing code sends it")
			}
			if !ok || e.Class != grid.ClassCaller || asked != 0 || time.Since(began) > 0 || strings.Contains(err.Error(), "sesame") {
				t.Errorf("%q: asked %d times in %v: %v", h, asked, time.Since(began), err)
			}
		})
	}
}
