package grid_test

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

func on(t testing.TB, m *gridtest.Market, retry grid.Retry) *grid.Client {
	t.Helper()
	c, err := grid.New(grid.Config{APIKey: m.Key(), HTTPClient: &http.Client{Transport: m.Transport()}, Retry: retry})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestDryInstrumentOnTheMarketIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{Balance: map[string]int64{"agent-prime": 0}, TopUp: gridtest.TopUp{Delay: 3 * time.Second}})
		defer m.Close()
		m.Model(func(gridtest.Turn) gridtest.Reply { return gridtest.Reply{Text: "here"} })
		o := &watch{}
		req := ask("hi")
		req.Wait, req.Observer, req.Stream = grid.DefaultWait, o, true
		c := on(t, m, grid.Retry{})
		res, err := c.Chat(t.Context(), req)
		if err != nil || res.Message.Text() != "here" || res.Waited < 3*time.Second || res.Waited > 5*time.Second {
			t.Fatalf("%+v, %v", res, err)
		}
		first := 0
		for _, r := range m.Requests() {
			if r.Hop == 1 {
				first++
			}
		}
		if first != o.begins || res.Attempts != first {
			t.Errorf("%d requests, %d attempts observed, %d told", first, o.begins, res.Attempts)
		}
		time.Sleep(time.Second)
		receipt, err := c.Receipt(t.Context(), res.RequestID)
		if err != nil || !receipt.Settled() || *receipt.CostNanoUSD != m.Bill(m.Key()) {
			t.Errorf("%+v, %v; the bill is %d", receipt, err, m.Bill(m.Key()))
		}
		if p := c.Catalogue().Price("agent-prime"); p.Source != grid.PriceReceipt || p.NanoUSDPerUnit == 0 {
			t.Errorf("%+v", p)
		}
	})
}

func TestAttemptsEqualRequestsAtTheFirstHop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{})
		defer m.Close()
		m.Model(func(gridtest.Turn) gridtest.Reply { return gridtest.Reply{Text: "a longer answer than one word"} })
		c := on(t, m, grid.Retry{BudgetMax: -1, BreakerCalls: -1})
		kinds := []gridtest.Fault{
			{Kind: gridtest.Status, Status: 500}, {Kind: gridtest.Status, Status: 429, RetryAfter: 2 * time.Second},
			{Kind: gridtest.Status, Status: 502, Hop: 2}, {Kind: gridtest.DropConnection}, {Kind: gridtest.CutStream, AfterChunks: 2},
			{Kind: gridtest.HTML}, {Kind: gridtest.EmptyBody}, {Kind: gridtest.NoChoices},
		}
		var wg sync.WaitGroup
		watches := make([]*watch, 40)
		for i := range watches {
			f := kinds[i%len(kinds)]
			f.On = i + 1
			m.Fault(f)
		}
		for i := range watches {
			watches[i] = &watch{}
			wg.Go(func() {
				req := ask("hi")
				req.Observer, req.Stream = watches[i], i%2 == 0
				if _, err := c.Chat(t.Context(), req); err != nil {
					if _, ok := errors.AsType[*grid.Error](err); !ok {
						t.Errorf("untyped: %v", err)
					}
				}
			})
		}
		wg.Wait()
		attempts, hops := 0, [3]int{}
		for _, o := range watches {
			attempts += o.begins
			if o.begins != o.ends {
				t.Errorf("%d begins, %d ends", o.begins, o.ends)
			}
		}
		for _, r := range m.Requests() {
			hops[r.Hop]++
		}
		if hops[1] != attempts || hops[2] > hops[1] || attempts <= len(watches) {
			t.Errorf("%d attempts, %d and %d requests", attempts, hops[1], hops[2])
		}
	})
}

func TestUnknownInstrumentIsNamed(t *testing.T) {
	m := gridtest.New(gridtest.Config{})
	defer m.Close()
	req := ask("hi")
	req.Instrument = "gpt-5.2"
	_, err := on(t, m, grid.Retry{}).Chat(t.Context(), req)
	if !errors.Is(err, grid.ErrUnknownInstrument) {
		t.Errorf("%v", err)
	}
}
