package grid_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

// under runs a test on a market of every profile: whatever the platform does where it
// documents nothing, the law must hold.
func under(t *testing.T, cfg gridtest.Config, run func(t *testing.T, m *gridtest.Market, p gridtest.Profile)) {
	for _, p := range gridtest.Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := cfg
				cfg.Profile = p
				m := gridtest.New(cfg)
				defer m.Close()
				m.Model(func(gridtest.Turn) gridtest.Reply {
					return gridtest.Reply{Text: "an answer of some words", Chunks: 5, DeltaDelay: 100 * time.Millisecond}
				})
				run(t, m, p)
				m.AssertDone(t)
			})
		})
	}
}

// hops counts the chat requests at the first and the second hop.
func hops(m *gridtest.Market) (n [3]int) {
	for _, r := range m.Requests() {
		n[r.Hop]++
	}
	return n
}

func TestADryInstrumentIsWaitedOutUnderEveryProfile(t *testing.T) {
	under(t, gridtest.Config{Balance: map[string]int64{"agent-prime": 0}, TopUp: gridtest.TopUp{Delay: 6 * time.Second}}, func(t *testing.T, m *gridtest.Market, _ gridtest.Profile) {
		c := on(t, m, grid.Retry{})
		var all sync.WaitGroup
		attempts := 0
		var mu sync.Mutex
		for i := range 50 {
			all.Go(func() {
				o := &watch{}
				req := ask("hi")
				req.Wait, req.Observer, req.Stream = grid.DefaultWait, o, i%2 == 0
				res, err := c.Chat(t.Context(), req)
				if err != nil || res.Message.Text() == "" || res.Waited > 20*time.Second {
					t.Errorf("%+v, %v", res, err)
				}
				mu.Lock()
				defer mu.Unlock()
				attempts += o.begins
				if o.begins != o.ends {
					t.Errorf("%d begins, %d ends", o.begins, o.ends)
				}
			})
		}
		all.Wait()
		if n := hops(m); n[1] != attempts || n[2] > n[1] {
			t.Errorf("%d attempts, %d and %d requests", attempts, n[1], n[2])
		}
	})
}

func TestEmptyCreditsEndTheWaitUnderEveryProfile(t *testing.T) {
	under(t, gridtest.Config{Credits: -1, Balance: map[string]int64{"agent-prime": 0}}, func(t *testing.T, m *gridtest.Market, _ gridtest.Profile) {
		req := ask("hi")
		req.Wait = 5 * time.Minute
		began := time.Now()
		_, err := on(t, m, grid.Retry{}).Chat(t.Context(), req)
		if took := time.Since(began); !errors.Is(err, grid.ErrDry) || took > req.Wait+time.Minute {
			t.Errorf("%v after %v", err, took)
		}
		if m.Bill("") != 0 {
			t.Errorf("bill %d", m.Bill(""))
		}
	})
}

// What an attempt's verdict lets a ledger count is never below the bill: nothing that
// is said not to be billed is, and what is known by its usage is counted in full.
func TestVerdictsNeverFallBelowTheBillUnderEveryProfile(t *testing.T) {
	kinds := []gridtest.Fault{
		{Kind: gridtest.Status, Status: 500}, {Kind: gridtest.Status, Status: 429}, {Kind: gridtest.Status, Status: 402},
		{Kind: gridtest.Status, Status: 502, Hop: 2, Billed: true}, {Kind: gridtest.Status, Status: 503, Hop: 2}, {Kind: gridtest.Status, Status: 400, Hop: 2},
		{Kind: gridtest.DropConnection}, {Kind: gridtest.DropConnection, Hop: 1}, {Kind: gridtest.CutStream, AfterChunks: 2}, {Kind: gridtest.CutStream, AfterBytes: 30, CleanEnd: true},
		{Kind: gridtest.HTML}, {Kind: gridtest.EmptyBody}, {Kind: gridtest.NoChoices},
	}
	under(t, gridtest.Config{}, func(t *testing.T, m *gridtest.Market, p gridtest.Profile) {
		c := on(t, m, grid.Retry{})
		for i, f := range kinds {
			for _, stream := range []bool{false, true} {
				m.Fault(f)
				o := &watch{}
				req := ask("hi")
				req.Observer, req.Stream, req.Wait = o, stream, time.Minute
				before := m.Bill("")
				from := len(m.Requests())
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				_, err := c.Chat(ctx, req)
				cancel()
				synctest.Wait()
				var counted, bound int64
				for _, v := range o.verdicts {
					switch {
					case v.Billed == grid.BilledNo:
					case v.Billed == grid.BilledYes && v.Usage != nil:
						counted += v.Usage.TotalTokens
					default:
						bound++
					}
				}
				var billed, without int64
				for _, r := range m.Requests()[from:] {
					if !r.Billed {
						continue
					}
					if tokens := r.PromptTokens + r.CompletionTokens; tokens > 0 {
						billed += tokens
					}
					without++
				}
				if spent := m.Bill("") - before; spent > 0 && bound == 0 && counted < billed {
					t.Errorf("fault %d, stream %v: %d tokens billed, %d counted, none bounded (%v)", i, stream, billed, counted, err)
				}
				yes := int64(0)
				for _, v := range o.verdicts {
					if v.Billed != grid.BilledNo {
						yes++
					}
				}
				if without > yes {
					t.Errorf("fault %d, stream %v: %d requests were billed, %d verdicts leave that open", i, stream, without, yes)
				}
			}
		}
		if n := hops(m); n[2] > n[1] {
			t.Errorf("%d requests at the first hop, %d at the second", n[1], n[2])
		}
	})
}

func TestReceiptsAddUpToTheBillUnderEveryProfile(t *testing.T) {
	under(t, gridtest.Config{}, func(t *testing.T, m *gridtest.Market, p gridtest.Profile) {
		c := on(t, m, grid.Retry{Max: -1})
		var ids []string
		for i := range 8 {
			if i%4 == 3 {
				m.Fault(gridtest.Fault{Kind: gridtest.CutStream, AfterChunks: 2})
			}
			o := &watch{}
			req := ask("hi")
			req.Observer, req.Stream = o, true
			_, _ = c.Chat(t.Context(), req)
			for _, v := range o.verdicts {
				ids = append(ids, v.RequestID)
			}
		}
		synctest.Wait()
		time.Sleep(time.Second)
		sum := int64(0)
		for _, id := range ids {
			if id == "" {
				if p.Reading("request_id") != "none" {
					t.Error("an attempt has no request id")
				}
				continue
			}
			r, err := c.Receipt(t.Context(), id)
			if err != nil || !r.Settled() || r.CostNanoUSD == nil {
				t.Fatalf("%+v, %v", r, err)
			}
			sum += *r.CostNanoUSD
		}
		if p.Reading("request_id") != "none" && sum != m.Bill("") || m.Bill("") == 0 {
			t.Errorf("the receipts add up to %d, the bill is %d", sum, m.Bill(""))
		}
		s, err := c.Summary(t.Context(), grid.SummaryQuery{})
		if err != nil || s.CostNanoUSD != m.Bill("") || s.Pending != 0 {
			t.Errorf("%+v, %v; the bill is %d", s, err, m.Bill(""))
		}
	})
}

func TestTheKeyStaysAtItsHostUnderEveryProfile(t *testing.T) {
	under(t, gridtest.Config{}, func(t *testing.T, m *gridtest.Market, p gridtest.Profile) {
		seen := make(map[string]bool)
		spy := transport(func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("Authorization") != "" {
				seen[r.URL.Host] = true
			}
			return m.Transport().RoundTrip(r)
		})
		c, err := grid.New(grid.Config{APIKey: m.Key(), HTTPClient: &http.Client{Transport: spy}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Chat(t.Context(), ask("hi")); err != nil {
			t.Error(err)
		}
		if err := c.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
		if len(seen) != 1 || !seen["api.thegrid.ai"] {
			t.Errorf("the key went to %v", seen)
		}
	})
}
