package agent_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	openai "github.com/sashabaranov/go-openai"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// late hides what is younger than lag from the market's list, and shows all else as a
// clock that runs ahead would stamp it.
type late struct {
	http.RoundTripper
	lag, ahead time.Duration
}

func (l *late) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := l.RoundTripper.RoundTrip(req)
	if err != nil || !strings.HasSuffix(req.URL.Path, "/usage") {
		return res, err
	}
	var page struct {
		Data   []map[string]any `json:"data"`
		Paging json.RawMessage  `json:"paging"`
	}
	if err := json.NewDecoder(res.Body).Decode(&page); err != nil {
		return nil, err
	}
	_ = res.Body.Close()
	kept := page.Data[:0]
	for _, r := range page.Data {
		at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(r["created_at"]))
		if err != nil {
			return nil, err
		}
		if time.Since(at) >= l.lag {
			r["created_at"] = at.Add(l.ahead).Format(time.RFC3339Nano)
			kept = append(kept, r)
		}
	}
	page.Data = kept
	b, err := json.Marshal(page)
	if err != nil {
		return nil, err
	}
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	return res, nil
}

func through(t *testing.T, m *gridtest.Market, key string, lag, ahead time.Duration) *grid.Client {
	return clientOf(t, m, func(c *grid.Config) {
		c.APIKey = key
		c.HTTPClient = &http.Client{Transport: &late{&wire{m.Transport()}, lag, ahead}}
	})
}

// stranger asks the market past the library.
func stranger(t *testing.T, c *grid.Client, n int) {
	t.Helper()
	for range n {
		req := grid.Request{Instrument: "agent-prime", Messages: []grid.Message{grid.FromOpenAI(openai.ChatCompletionMessage{Role: "user", Content: "hello"})}, MaxTokens: 20}
		if _, err := c.Chat(t.Context(), &req); err != nil {
			t.Fatal(err)
		}
	}
}

func asked(t *testing.T, a *agent.Agent, n int) {
	t.Helper()
	for range n {
		if _, err := agent.Run[string](t.Context(), a, "go"); err != nil {
			t.Fatal(err)
		}
	}
}

func audited(t *testing.T, a *agent.Agent, q agent.AuditQuery) *agent.AuditReport {
	t.Helper()
	rep, err := a.Audit(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestAuditFindsWhatIsNotOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(lookCall()), say("done"))
		ledger := ledgerOf(t)
		client := through(t, m, m.Key(), 0, 0)
		a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Ledger: ledger, Market: client})
		began := time.Now()
		asked(t, a, 3) // two requests each
		time.Sleep(2 * time.Hour)
		rep := audited(t, a, agent.AuditQuery{})
		if !rep.OK() || rep.Total.Market.Requests != 6 || rep.Total.Ledger.Requests != 6 || rep.Total.Missing != (agent.AuditGap{}) || rep.Others != 0 || len(rep.Hours) != 1 {
			t.Fatalf("all is ours, but %+v", rep)
		}
		if e := rep.Total.EstimateErrorNanoUSD; e != rep.Total.Ledger.NanoUSD-m.Bill("") || e <= 0 {
			t.Errorf("the estimate is off by %d: the ledger has %d, the bill is %d", e, rep.Total.Ledger.NanoUSD, m.Bill(""))
		}
		// Somebody else has the key, another of the account's keys is none of our business,
		// and something of ours was never billed.
		stranger(t, client, 2)
		stranger(t, through(t, m, m.NewKey("other"), 0, 0), 5)
		lost := budget.Request{ID: "lost", Scopes: []budget.Scope{{Kind: "instrument", Name: "code-prime"}}, Amounts: budget.Amounts{NanoUSD: 500, Tokens: 900, Requests: 1}}
		if _, err := ledger.Reserve(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.Charge(t.Context(), "lost"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if _, err := a.Audit(t.Context(), agent.AuditQuery{}); err == nil || !strings.Contains(err.Error(), "key_0") || !strings.Contains(err.Error(), "Keys") {
			t.Errorf("it guesses which key is ours: %v", err)
		}
		before := m.Bill("default")
		res, err := agent.Run[string](t.Context(), a, "go")
		if err != nil {
			t.Fatal(err)
		}
		if err := agent.Reconcile(t.Context(), a, res); err != nil { // from now on the key is known
			t.Fatal(err)
		}
		rep = audited(t, a, agent.AuditQuery{To: began.Add(3 * time.Hour)})
		tot := rep.Total
		if rep.OK() || tot.Unexplained.Requests != 2 || tot.Unexplained.Tokens == 0 || tot.Missing.Requests != 1 || tot.Missing.Tokens != 0 || tot.UnconfirmedTokens != 900 || rep.Others != 5 || len(rep.Keys) != 1 {
			t.Errorf("%+v", rep)
		}
		if tot.Market.NanoUSD != before {
			t.Errorf("the market billed %d, the audit says %d", before, tot.Market.NanoUSD)
		}
		for _, h := range rep.Hours {
			if (h.Unexplained.Requests > 0) != (h.Instrument == "agent-prime" && !h.Start.Equal(began)) || (h.Missing.Requests > 0) != (h.Instrument == "code-prime") {
				t.Errorf("%+v", h)
			}
		}
	})
}

func TestAuditKeepsEdgesAndZonesApart(t *testing.T) {
	// Virtual time begins on the hour. Requests are made just before and just behind each.
	for _, ahead := range []time.Duration{0, 2 * time.Second, -2 * time.Second} {
		for _, zone := range []*time.Location{time.UTC, time.FixedZone("half past", 5*3600+1800)} {
			t.Run(fmt.Sprint(ahead, zone), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newMarket(t, gridtest.Config{})
					turns(m, say("done"))
					a := open(t, m, agent.Config{Ledger: ledgerOf(t), Market: through(t, m, m.Key(), 0, ahead)})
					began := time.Now()
					for hour := range 3 {
						time.Sleep(time.Until(began.Add(time.Duration(hour+1)*time.Hour - time.Second)))
						asked(t, a, 1+hour)
						time.Sleep(2 * time.Second)
						asked(t, a, 2)
					}
					time.Sleep(30 * time.Minute)
					// The whole, and every part of it, whatever the edge: nobody is blamed.
					for _, q := range []agent.AuditQuery{
						{},
						{From: began.Add(time.Hour), To: began.Add(2 * time.Hour)},
						{From: began.Add(time.Hour).In(zone), To: began.Add(3 * time.Hour).In(zone)},
						{From: began.Add(59*time.Minute + 59500*time.Millisecond), To: began.Add(2*time.Hour + 30*time.Minute)},
					} {
						q.Lag = -1
						rep := audited(t, a, q)
						if !rep.OK() || rep.Total.Missing != (agent.AuditGap{}) || rep.Total.Market.Requests == 0 || rep.Total.Ledger.Requests != rep.Total.Market.Requests {
							t.Errorf("from %v to %v: %+v", rep.From, rep.To, rep)
						}
						for _, h := range rep.Hours {
							if h.End.Sub(h.Start) > time.Hour+10*time.Second || h.Start.Location() != time.UTC || h.Unexplained.Requests != 0 || h.Missing.Requests != 0 {
								t.Errorf("%+v", h)
							}
						}
					}
				})
			})
		}
	}
}

func TestAuditDoesNotJudgeWhatTheMarketMayStillList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{ReceiptDelay: 10 * time.Minute})
		turns(m, say("done"))
		a := open(t, m, agent.Config{Ledger: ledgerOf(t), Market: through(t, m, m.Key(), 12*time.Minute, 0)})
		time.Sleep(50 * time.Minute)
		asked(t, a, 4)
		time.Sleep(13 * time.Minute) // the hour is over for three minutes
		asked(t, a, 3)
		time.Sleep(time.Second)
		rep := audited(t, a, agent.AuditQuery{})
		if len(rep.Hours) != 2 || !rep.Hours[0].Open || !rep.Hours[1].Open || rep.Total != (agent.AuditSums{}) || rep.Hours[1].Missing.Requests != 3 {
			t.Errorf("%+v", rep)
		}
		time.Sleep(20 * time.Minute)
		rep = audited(t, a, agent.AuditQuery{})
		if rep.Hours[0].Open || !rep.Hours[1].Open || rep.Total.Market.Requests != 4 || rep.Total.Missing.Requests != 0 || rep.Total.Pending != 0 {
			t.Errorf("%+v", rep)
		}
	})
}

func TestAuditRefusesWhatMakesNoSense(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	a := open(t, m, agent.Config{})
	now := time.Now()
	for name, q := range map[string]agent.AuditQuery{
		"backwards": {From: now.Add(-time.Hour), To: now.Add(-2 * time.Hour)},
		"too long":  {From: now.AddDate(0, -2, 0)},
		"no key":    {Keys: []string{""}},
	} {
		if _, err := a.Audit(t.Context(), q); err == nil || !strings.Contains(err.Error(), "AuditQuery") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if rep, err := a.Audit(t.Context(), agent.AuditQuery{}); err != nil || !rep.OK() || len(rep.Hours) != 0 {
		t.Errorf("nothing happened, but %+v, %v", rep, err)
	}
}

// What the market gave up is not billed, what has no price yet is not settled, and what is outside of the time asked for is
// in no hour of it.
func TestAuditCountsWhatIsBilledWithinItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{ReceiptDelay: time.Hour})
		turns(m, say("done"))
		m.Fault(gridtest.Fault{Kind: gridtest.Status, Status: 502, Hop: 2, On: 2})
		ledger := ledgerOf(t)
		a := open(t, m, agent.Config{Ledger: ledger, Market: through(t, m, m.Key(), 0, 0)})
		began := time.Now()
		asked(t, a, 1) // on the hour
		time.Sleep(30 * time.Minute)
		asked(t, a, 1) // first in vain
		idle := budget.Request{ID: "idle", Scopes: []budget.Scope{{Kind: "instrument", Name: "code-prime"}}, Amounts: budget.Amounts{NanoUSD: 500, Tokens: 900, Requests: 1}, Idle: true, Lease: 3 * time.Hour}
		if _, err := ledger.Reserve(t.Context(), idle); err != nil { // nothing was asked of that one
			t.Fatal(err)
		}
		time.Sleep(40 * time.Minute)
		// A quarter of an hour after the first one, which is 5 seconds from no edge.
		q := agent.AuditQuery{From: began.Add(15 * time.Minute), To: began.Add(50 * time.Minute), Lag: -1}
		rep := audited(t, a, q)
		if tot := rep.Total; tot.Market.Requests != 2 || tot.Pending != 2 || tot.Ledger.Requests != 2 || tot.UnconfirmedTokens == 0 || len(rep.Hours) != 1 || rep.Hours[0].Open {
			t.Errorf("before the bill is known: %+v", rep)
		}
		time.Sleep(time.Hour)
		rep = audited(t, a, q)
		tot := rep.Total
		if tot.Market.Requests != 1 || tot.Pending != 0 || tot.Missing.Requests != 1 || tot.Missing.Tokens != 0 || tot.Unexplained != (agent.AuditGap{}) || len(rep.Hours) != 1 {
			t.Errorf("%+v", rep)
		}
		whole := audited(t, a, agent.AuditQuery{From: began.Add(-time.Minute), Lag: -1})
		if whole.Total.Market.Requests != 2 || whole.Total.Market.NanoUSD != m.Bill("") || whole.Total.Ledger.Requests != 3 {
			t.Errorf("%+v, the bill is %d", whole.Total, m.Bill(""))
		}
		// Just behind the edge, and so is its reservation: it belongs to the hour before.
		behind := audited(t, a, agent.AuditQuery{From: began.Add(2 * time.Second), To: began.Add(20 * time.Minute), Lag: -1})
		if len(behind.Hours) != 0 || behind.Total != (agent.AuditSums{}) {
			t.Errorf("what was before the time is in it: %+v", behind)
		}
	})
}
