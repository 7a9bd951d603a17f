package grid_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

func TestARefreshTellsWhatItChanged(t *testing.T) {
	lists := []string{
		`{"data":[{"id":"text-prime","status":"live","max_input_tokens":120000,"pricing":{"unit_price_usd":"0.60"}},{"id":"code-max","status":"preview"}]}`,
		`{"data":[{"id":"text-prime","status":"live","max_input_tokens":100000,"pricing":{"unit_price_usd":"0.75"}},{"id":"code-max","status":"live"},{"id":"glm-latest","status":"live","context_window":9}]}`,
		`{"data":[{"id":"code-max"},{"id":"glm-latest"},{"id":"a b"}]}`,
		`{"data":[{"id":"text-prime"},{"id":"code-max"},{"id":"glm-latest"}]}`,
		`{"data":[{"id":"text-prime"},{"id":"code-max"},{"id":"glm-latest"}]}`,
	}
	want := []string{
		"",
		"text-prime: max_input went from 120000 to 100000 tokens; text-prime: the live price went from $0.60 to $0.75 a Unit; code-max went from preview to live; glm-latest is new (live)",
		"text-prime is no longer listed",
		"text-prime is listed again",
		"",
	}
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, lists[asked])
		asked++
	}))
	defer s.Close()
	var told []string
	c := client(t, s.URL, func(cfg *grid.Config) {
		cfg.OnChange = func(changes []grid.Change) {
			for _, x := range changes {
				told = append(told, x.String())
			}
		}
	})
	for i := range lists {
		told = nil
		if err := c.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(told, "; "); got != want[i] {
			t.Errorf("refresh %d: %q, want %q", i, got, want[i])
		}
	}
	if in, ok := c.Catalogue().Get("glm-latest"); !ok || in.Context != 9 || in.Family != "" {
		t.Errorf("%+v", in)
	}
}

func TestReceiptsAreListedToTheEndAndNoFurther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{})
		defer m.Close()
		c := on(t, m, grid.Retry{})
		for i := range 230 {
			req := ask("hi")
			if i%10 == 0 {
				req.Instrument = "text-max"
			}
			if _, err := c.Chat(t.Context(), req); err != nil {
				t.Fatal(err)
			}
		}
		count := func(f grid.ReceiptFilter) (n int, sum int64) {
			for r, err := range c.Receipts(t.Context(), f) {
				if err != nil {
					t.Fatal(err)
				}
				n++
				if r.CostNanoUSD != nil {
					sum += *r.CostNanoUSD
				}
			}
			return n, sum
		}
		if n, sum := count(grid.ReceiptFilter{CostStatus: "pending"}); n != 230 || sum != 0 {
			t.Errorf("%d receipts of %d nano-USD are pending", n, sum)
		}
		time.Sleep(time.Second)
		if n, sum := count(grid.ReceiptFilter{}); n != 230 || sum != m.Bill("") {
			t.Errorf("%d receipts of %d nano-USD, the bill is %d", n, sum, m.Bill(""))
		}
		if n, _ := count(grid.ReceiptFilter{Instrument: "text-max", Status: "reconciled", LargestFirst: true}); n != 23 {
			t.Errorf("%d receipts of text-max", n)
		}
		if n, _ := count(grid.ReceiptFilter{From: time.Now().Add(time.Hour)}); n != 0 {
			t.Errorf("%d receipts from the future", n)
		}
		before := len(m.Requests())
		for range c.Receipts(t.Context(), grid.ReceiptFilter{}) {
			break
		}
		if asked := len(m.Requests()) - before; asked != 1 {
			t.Errorf("%d pages were asked for after a break", asked)
		}

		s, err := c.Summary(t.Context(), grid.SummaryQuery{GroupBy: grid.GroupByInstrument})
		if err != nil || s.Requests != 230 || s.CostNanoUSD != m.Bill("") || len(s.Groups) != 2 {
			t.Fatalf("%+v, %v", s, err)
		}
		for _, g := range s.Groups {
			if want := map[string]int64{"text-max": 23, "agent-prime": 207}[g.Key]; g.Requests != want || g.CostNanoUSD == 0 {
				t.Errorf("%+v, want %d requests", g, want)
			}
		}
		for name, q := range map[string]grid.SummaryQuery{
			"a group that there is none of": {GroupBy: "weather"},
			"two months":                    {From: time.Now().AddDate(0, -2, 0), To: time.Now()},
			"backwards":                     {From: time.Now(), To: time.Now().Add(-time.Hour)},
		} {
			var e *grid.Error
			if _, err := c.Summary(t.Context(), q); !errors.As(err, &e) || e.Class != grid.ClassCaller {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestListsThatMisbehaveEnd(t *testing.T) {
	for _, row := range []struct {
		name, first, rest string
		want              int
		malformed         bool
	}{
		{"the cursor stays", `{"data":[{"request_id":"a"}],"paging":{"next_cursor":"x","has_more":true}}`, `{"data":[{"request_id":"b"}],"paging":{"next_cursor":"x","has_more":true}}`, 2, false},
		{"a cursor without more", `{"data":[{"request_id":"a"}],"paging":{"next_cursor":"x","has_more":false}}`, `{}`, 1, false},
		{"a cursor that is a number, nothing said of more", `{"data":[{"request_id":"a"}],"paging":{"next_cursor":7}}`, `{"data":[{"request_id":"b"}]}`, 2, false},
		{"entries that are none", `{"data":[7,{},{"request_id":"a","usage":{"total_tokens":"12"},"cost":{"amount":"1e-9","status":"reconciled"},"supplier":"s","quality_score":0.9}]}`, `{}`, 1, false},
		{"a page that is none", `{"data":[{"request_id":"a"}],"paging":{"next_cursor":"x"}}`, `"what"`, 1, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("limit") != "100" {
					w.WriteHeader(422)
				}
				if r.URL.Query().Has("next") {
					fmt.Fprint(w, row.rest)
					return
				}
				fmt.Fprint(w, row.first)
			}))
			defer s.Close()
			n := 0
			var last error
			for r, err := range client(t, s.URL, noRetries).Receipts(t.Context(), grid.ReceiptFilter{}) {
				if last = err; err != nil {
					continue
				}
				n++
				if r.Supplier != "" && (r.TotalTokens != 12 || *r.CostNanoUSD != 1 || r.Quality != "0.9") {
					t.Errorf("%+v", r)
				}
			}
			if n != row.want || errors.Is(last, grid.ErrMalformed) != row.malformed {
				t.Errorf("%d receipts, then %v", n, last)
			}
		})
	}
}

func TestDiagnosticsAreRead(t *testing.T) {
	m := gridtest.New(gridtest.Config{Credits: -1, Balance: map[string]int64{"text-max": 0}})
	defer m.Close()
	d, err := on(t, m, grid.Retry{}).Diagnostics(t.Context())
	if err != nil || d.Status != "fail" || d.Service != "consumption" || d.ServerTime.IsZero() || len(d.Checks) != 11 || len(d.Raw) == 0 {
		t.Fatalf("%+v, %v", d, err)
	}
	if c := d.Checks[1]; c.Name != "credits" || c.Status != "fail" || c.Code != "credits_empty" || c.NextAction == "" {
		t.Errorf("%+v", c)
	}
}
