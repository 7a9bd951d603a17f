package proof

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
	"github.com/gridloop/gridloop/tracing"
)

// spender is an agent whose telemetry the test can look into.
func spender(t *testing.T, m *gridtest.Market, cfg agent.Config) (*agent.Agent, *telemetry) {
	t.Helper()
	client, err := grid.New(grid.Config{APIKey: m.Key(), HTTPClient: &http.Client{Transport: m.Transport()}})
	if err != nil {
		t.Fatal(err)
	}
	r := record(t, tracing.Config{})
	cfg.Name, cfg.Market, cfg.Tracing = "desk", client, r.Tracing
	a, err := agent.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return a, r
}

func ledgerWith(t *testing.T, caps ...budget.Cap) *budget.Ledger {
	t.Helper()
	l, err := budget.Open(t.Context(), budget.Config{Store: budget.NewMemory(budget.Volatile()), Caps: caps})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// How tight reservations are is measured of attempts whose use is known: one that was charged at its bound says nothing.
func TestAnAttemptThatIsChargedAtItsBoundIsNoEstimate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{})
		defer m.Close()
		m.Model(func(gridtest.Turn) gridtest.Reply { return gridtest.Reply{Text: "done"} })
		m.Fault(gridtest.Fault{Kind: gridtest.Status, Status: 502, Hop: 2})
		a, r := spender(t, m, agent.Config{})
		res, err := agent.Run[string](t.Context(), a, "go")
		if err != nil || len(res.Steps) != 1 || len(res.Steps[0].Attempts) != 2 || res.Steps[0].Attempts[0].CostSource != agent.CostBound {
			t.Fatalf("%+v, %v", res.Steps, err)
		}
		used := res.Steps[0].Attempts[1]
		data, ok := r.metrics(t)["gridloop.budget.reserved_ratio"].Data.(metricdata.Histogram[float64])
		if want := float64(used.ReservedTokens) / float64(used.Tokens); !ok || len(data.DataPoints) != 1 || data.DataPoints[0].Count != 1 || data.DataPoints[0].Sum != want {
			t.Errorf("%+v, want one of %f", data, want)
		}
	})
}

// What a cap refuses and what went over is told as it happens, with the cap.
func TestDenialsAndOverrunsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{})
		defer m.Close()
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if turn.N == 0 {
				return gridtest.Reply{Calls: []gridtest.ToolCall{gridtest.Call("mail", "{}"), gridtest.Call("mail", "{}")}}
			}
			return gridtest.Reply{Text: "done", CompletionTokens: 50_000}
		})
		cap := budget.Cap{For: budget.Each("tool"), Meter: budget.MeterToolCalls, Limit: 1, Per: budget.Lifetime()}
		mail := tools.New("mail", "Send a mail.", func(context.Context, struct{}) (string, error) { return "sent", nil })
		a, r := spender(t, m, agent.Config{Tools: []tools.Tool{mail}, Ledger: ledgerWith(t, cap)})
		if _, err := agent.Run[string](t.Context(), a, "go"); err != nil {
			t.Fatal(err)
		}
		denied, over := r.logs.named("gridloop.budget.denied"), r.logs.named("gridloop.budget.overrun")
		if len(denied) != 1 || len(over) != 1 || over[0].Severity() != log.SeverityWarn {
			t.Fatalf("%d denials and %d overruns", len(denied), len(over))
		}
		f := fields(denied[0])
		if f["gridloop.budget.cap"].AsString() != cap.ID() || f["gridloop.budget.kind"].AsString() != "spent" {
			t.Errorf("the denial says %v", f)
		}
		f = fields(over[0])
		if f["gridloop.instrument"].AsString() != "agent-prime" || f["gridloop.budget.settled.nano_usd"].AsInt64() <= f["gridloop.budget.reserved.nano_usd"].AsInt64() {
			t.Errorf("the overrun says %v", f)
		}
	})
}

// A wait for what others hold says how it ended.
func TestAWaitForMoneySaysHowItEnded(t *testing.T) {
	for _, tc := range []struct {
		outcome string
		then    func(ctx context.Context, l *budget.Ledger, cancel func()) error
	}{
		{"granted", func(ctx context.Context, l *budget.Ledger, _ func()) error {
			return l.Void(ctx, "other", budget.ProofNeverDispatched)
		}},
		{"refused", func(ctx context.Context, l *budget.Ledger, _ func()) error {
			_, err := l.Charge(ctx, "other")
			return err
		}},
		{"canceled", func(_ context.Context, _ *budget.Ledger, cancel func()) error { cancel(); return nil }},
		{"timed_out", func(context.Context, *budget.Ledger, func()) error { return nil }},
	} {
		t.Run(tc.outcome, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := gridtest.New(gridtest.Config{})
				defer m.Close()
				m.Model(func(gridtest.Turn) gridtest.Reply { return gridtest.Reply{Text: "done"} })
				l := ledgerWith(t, budget.Cap{For: budget.Account(), Meter: budget.MeterTokens, Limit: 10_000, Per: budget.Lifetime()})
				if _, err := l.Reserve(t.Context(), budget.Request{ID: "other", Amounts: budget.Amounts{Tokens: 9000}, Lease: time.Hour}); err != nil {
					t.Fatal(err)
				}
				a, r := spender(t, m, agent.Config{Ledger: l, Limits: agent.Limits{Wait: 30 * time.Second, MaxTokens: 1024}, Spending: agent.Spending{Held: agent.HeldLine}})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				then := time.AfterFunc(10*time.Second, func() {
					if err := tc.then(context.Background(), l, cancel); err != nil {
						t.Error(err)
					}
				})
				defer then.Stop()
				res, err := agent.Run[string](ctx, a, "go")
				if done := err == nil && res.Stop == agent.StopCompleted; done != (tc.outcome == "granted") {
					t.Errorf("stopped by %s: %v", res.Stop, err)
				}
				var said []string
				for _, rec := range r.logs.named("gridloop.budget.wait.finished") {
					for k, v := range fields(rec) {
						if k == "gridloop.budget.wait.outcome" {
							said = append(said, v.AsString())
						}
					}
				}
				if !slices.Equal(said, []string{tc.outcome}) {
					t.Errorf("it says %q", said)
				}
			})
		})
	}
}

// An audit of an agent reaches its metrics.
func TestAnAuditOfAnAgentIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{})
		defer m.Close()
		m.Model(func(gridtest.Turn) gridtest.Reply { return gridtest.Reply{Text: "done"} })
		a, r := spender(t, m, agent.Config{})
		if _, err := agent.Run[string](t.Context(), a, "go"); err != nil {
			t.Fatal(err)
		}
		// A second client on the same key.
		other, err := grid.New(grid.Config{APIKey: m.Key(), HTTPClient: &http.Client{Transport: m.Transport()}})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if _, err := other.Chat(t.Context(), &grid.Request{Instrument: "agent-prime", Messages: []grid.Message{grid.UserMessage("hello")}, MaxTokens: 20}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		rep, err := a.Audit(t.Context(), agent.AuditQuery{})
		if err != nil || rep.OK() {
			t.Fatalf("%+v, %v", rep, err)
		}
		metrics := r.metrics(t)
		for name, want := range map[string]int64{"gridloop.audit.unexplained.requests": 1, "gridloop.audit.missing.requests": 0, "gridloop.audit.estimate_error.nano_usd": rep.Total.EstimateErrorNanoUSD} {
			g, ok := metrics[name].Data.(metricdata.Gauge[int64])
			if !ok || len(g.DataPoints) != 1 || g.DataPoints[0].Value != want {
				t.Errorf("%s is %+v, want %d", name, metrics[name].Data, want)
			}
		}
		said := r.logs.named("gridloop.audit.finished")
		if len(said) != 1 || fields(said[0])["gridloop.audit.requests"].AsInt64() != 2 || fields(said[0])["gridloop.audit.unexplained.tokens"].AsInt64() != rep.Total.Unexplained.Tokens {
			t.Errorf("it says %v", said)
		}
	})
}
