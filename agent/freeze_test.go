package agent_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// A run that would ask the ledger only in minutes notices a freeze in seconds, and
// goes on when it thaws.
func TestARunThatWaitsNoticesAFreeze(t *testing.T) {
	tenant := budget.Scope{Kind: "tenant", Name: "acme"}
	for _, tc := range []struct {
		name   string
		scope  budget.Scope
		market gridtest.Config
		client func(*grid.Config)
		fault  *gridtest.Fault
		other  int64 // tokens that somebody else holds
		dry    bool
	}{
		{name: "in the line of a dry instrument", scope: tenant, dry: true},
		{name: "frozen by its instrument", scope: budget.Scope{Kind: "instrument", Name: "agent-prime"}, dry: true},
		{name: "with the whole account", scope: budget.Scope{Kind: "account"}, dry: true},
		{name: "between retries", scope: tenant, fault: &gridtest.Fault{Kind: gridtest.Status, Status: http.StatusTooManyRequests, RetryAfter: time.Minute}},
		{name: "for a rate", scope: tenant, client: func(c *grid.Config) { c.Rates = map[string]grid.Rate{"": {Requests: 1. / 3600}} }},
		{name: "for what others hold", scope: tenant, other: 9_900},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := gridtest.Config{TopUp: gridtest.TopUp{Manual: true}}
				if tc.dry {
					cfg.Balance = map[string]int64{"agent-prime": 0}
				}
				m := newMarket(t, cfg)
				turns(m, calls(lookCall()), say("done"))
				if tc.fault != nil {
					m.Fault(*tc.fault)
				}
				change := []func(*grid.Config){}
				if tc.client != nil {
					change = append(change, tc.client)
				}
				ledger := ledgerOf(t, budget.Cap{For: budget.Account(), Meter: budget.MeterTokens, Limit: 40_000, Per: budget.Lifetime()})
				if tc.other > 0 {
					if _, err := ledger.Reserve(t.Context(), budget.Request{ID: "other", Amounts: budget.Amounts{Tokens: 39_900}}); err != nil {
						t.Fatal(err)
					}
				}
				a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Ledger: ledger, Market: clientOf(t, m, change...)})
				if tc.dry {
					// The head of the line asks now and then; those behind it do not.
					ctx, leave := context.WithCancel(t.Context())
					defer leave()
					go func() { _, _ = agent.Run[string](ctx, a, "go", agent.Tenant("head"), agent.Pin("agent-prime")) }()
					synctest.Wait()
				}
				began := time.Now()
				go func() {
					time.Sleep(10*time.Second + 500*time.Millisecond)
					if err := ledger.Freeze(context.Background(), tc.scope, "the bill looks odd", time.Time{}, "ann"); err != nil {
						t.Error(err)
					}
				}()
				res, err := agent.Run[string](t.Context(), a, "go", agent.Tenant("acme"))
				stands(t, res, err)
				p := paused(t, err)
				if took := time.Since(began); p.Reason != agent.PauseFrozen || took > 12*time.Second+500*time.Millisecond || took < 10*time.Second {
					t.Errorf("paused (%s) after %v", p.Reason, took)
				}
				if !errors.Is(err, budget.ErrFrozen) || !strings.Contains(p.Detail, "the bill looks odd") {
					t.Errorf("it does not say that it is frozen, and why: %v", err)
				}
				open, err := ledger.OpenReservations(t.Context(), res.Run+"/")
				if err != nil || len(open) != 0 {
					t.Errorf("a paused run holds %+v, %v", open, err)
				}
				if err := ledger.Unfreeze(t.Context(), tc.scope, "ann"); err != nil {
					t.Fatal(err)
				}
				if tc.other > 0 {
					if err := ledger.Void(t.Context(), "other", budget.ProofNeverDispatched); err != nil {
						t.Fatal(err)
					}
				}
				m.SetBalance("agent-prime", 10_000_000)
				res, err = agent.Resume[string](t.Context(), a, p.Token)
				stands(t, res, err)
				if err != nil || res.Text != "done" {
					t.Errorf("after the thaw: %q, %v", res.Text, err)
				}
			})
		})
	}
}

// A freeze of others, and one that has ended, wake nobody.
func TestAFreezeOfOthersWakesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{Balance: map[string]int64{"text-prime": 0}, TopUp: gridtest.TopUp{Delay: time.Minute}})
		ledger := ledgerOf(t)
		a := open(t, m, agent.Config{Ledger: ledger})
		for _, f := range []struct {
			scope budget.Scope
			until time.Time
		}{{budget.Scope{Kind: "tenant", Name: "beta"}, time.Time{}}, {budget.Scope{Kind: "tenant", Name: "acme"}, time.Now().Add(time.Millisecond)}} {
			if err := ledger.Freeze(t.Context(), f.scope, "", f.until, "ann"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		res, err := agent.Run[string](t.Context(), a, "go", agent.Tenant("acme"))
		stands(t, res, err)
		if err != nil || res.Waited < 50*time.Second {
			t.Errorf("%v after %v", err, res.Waited)
		}
	})
}

// What is under way when a freeze comes is not cut off: it is paid for.
func TestAFreezeLetsWhatIsUnderWaySettle(t *testing.T) {
	t.Run("at once", func(t *testing.T) { settlesUnderAFreeze(t, gridtest.Config{}) })
	t.Run("after a wait", func(t *testing.T) {
		settlesUnderAFreeze(t, gridtest.Config{Balance: map[string]int64{"agent-prime": 0}, TopUp: gridtest.TopUp{Delay: 5 * time.Second}})
	})
}

func settlesUnderAFreeze(t *testing.T, cfg gridtest.Config) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, cfg)
		turns(m, gridtest.Reply{Calls: []gridtest.ToolCall{lookCall()}, Delay: time.Minute}, say("done"))
		ledger := ledgerOf(t)
		a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Ledger: ledger})
		go func() {
			time.Sleep(10 * time.Second)
			if err := ledger.Freeze(context.Background(), budget.Scope{Kind: "account"}, "", time.Time{}, "ann"); err != nil {
				t.Error(err)
			}
		}()
		res, err := agent.Run[string](t.Context(), a, "go")
		stands(t, res, err)
		p := paused(t, err)
		if p.Reason != agent.PauseFrozen || len(res.Steps) != 1 || res.Usage.ToolCalls != 1 {
			t.Fatalf("%s after %+v", p.Reason, res.Steps)
		}
		if at := res.Steps[0].Attempts; at[len(at)-1].Billed != "yes" || m.Bill("") == 0 {
			t.Errorf("what was under way came to %+v", at[len(at)-1])
		}
	})
}

// A run that is frozen when it has only its last answer to give is owed that answer.
func TestAFrozenRunGivesItsLastAnswerAfterTheThaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		ledger := ledgerOf(t)
		freeze := tools.New("look", "Look.", func(ctx context.Context, _ empty) (string, error) {
			return "seen", ledger.Freeze(ctx, budget.Scope{Kind: "account"}, "", time.Time{}, "ann")
		})
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if len(turn.Tools) > 0 {
				return calls(lookCall())
			}
			return say("this is what I have")
		})
		a := open(t, m, agent.Config{Tools: []tools.Tool{freeze}, Ledger: ledger, Limits: agent.Limits{Steps: 1}})
		res, err := agent.Run[string](t.Context(), a, "go")
		stands(t, res, err)
		p := paused(t, err)
		if p.Reason != agent.PauseFrozen || res.Stop != agent.StopPaused {
			t.Fatalf("%s, %s", p.Reason, res.Stop)
		}
		_, err = agent.Resume[string](t.Context(), a, p.Token)
		if p = paused(t, err); p.Reason != agent.PauseFrozen {
			t.Fatalf("still frozen, but %v", err)
		}
		if err := ledger.Unfreeze(t.Context(), budget.Scope{Kind: "account"}, "ann"); err != nil {
			t.Fatal(err)
		}
		res, err = agent.Resume[string](t.Context(), a, p.Token)
		stands(t, res, err)
		if err != nil || res.Stop != agent.StopSteps || !res.Final || res.Text != "this is what I have" {
			t.Errorf("%s, %q: %v", res.Stop, res.Text, err)
		}
	})
}
