package agent_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// halfDeaf is a store whose answers on tool calls can get lost, before or after it has done what it was asked.
type halfDeaf struct {
	budget.Store
	lost, deaf, blind atomic.Bool
}

func (s *halfDeaf) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	err := s.Store.Reserve(ctx, account, op, ans)
	if op.Amounts.ToolCalls > 0 && s.lost.Load() {
		return errors.New("the answer was lost")
	}
	return err
}

func (s *halfDeaf) Settle(ctx context.Context, account, id string, actual budget.Amounts, ans *budget.Answer) error {
	if actual.ToolCalls > 0 && s.deaf.Load() {
		return errors.New("it did not hear")
	}
	return s.Store.Settle(ctx, account, id, actual, ans)
}

func (s *halfDeaf) Open(ctx context.Context, account, prefix string) ([]budget.Reservation, error) {
	if s.blind.Load() {
		return nil, errors.New("it cannot look")
	}
	return s.Store.Open(ctx, account, prefix)
}

// A call whose reservation was made, but not answered, does not run, and holds nothing for long.
func TestACallWhoseReservationWasNotAnsweredHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(mailCall()), say("done"))
		store := &halfDeaf{Store: budget.NewMemory(budget.Volatile())}
		store.lost.Store(true)
		cap := callCap(budget.Account(), 5)
		var ran atomic.Int64
		a := open(t, m, agent.Config{Tools: []tools.Tool{mail(&ran)}, Store: store, Caps: []budget.Cap{cap}})
		_, err := agent.Run[string](t.Context(), a, "go")
		if p := paused(t, err); p.Reason != agent.PauseStore || ran.Load() != 0 {
			t.Fatalf("%s, %d mails", p.Reason, ran.Load())
		}
		time.Sleep(time.Second)
		if s := state(t, a.Ledger(), cap.ID()); s.Held != 0 || s.Settled != 0 {
			t.Errorf("after a second it stands at %+v", s)
		}
	})
}

// A call that ran while the store was away is counted when it is back.
func TestACallIsCountedWhenTheStoreIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(mailCall()), say("done"))
		store := &halfDeaf{Store: budget.NewMemory(budget.Volatile())}
		store.deaf.Store(true)
		cap := callCap(budget.Account(), 5)
		var ran atomic.Int64
		a := open(t, m, agent.Config{Tools: []tools.Tool{mail(&ran)}, Store: store, Caps: []budget.Cap{cap}})
		res, err := agent.Run[string](t.Context(), a, "go")
		stands(t, res, err)
		if s := state(t, a.Ledger(), cap.ID()); err != nil || ran.Load() != 1 || s.Held != 1 || s.Settled != 0 {
			t.Fatalf("%d mails, %+v: %v", ran.Load(), s, err)
		}
		store.deaf.Store(false)
		time.Sleep(5 * time.Second)
		if s := state(t, a.Ledger(), cap.ID()); s.Held != 0 || s.Settled != 1 || s.Unconfirmed != 0 {
			t.Errorf("when the store was back it stood at %+v", s)
		}
	})
}

// What a dead incarnation left open must be known before the call runs again.
func TestACallDoesNotRunAgainBeforeTheStoreToldWhatIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(mailCall()), say("done"))
		store := &halfDeaf{Store: budget.NewMemory(budget.Volatile())}
		var ran atomic.Int64
		a := open(t, m, agent.Config{Tools: []tools.Tool{mail(&ran, tools.NeedsApproval())}, Store: store, Caps: []budget.Cap{callCap(budget.Account(), 5)}})
		_, err := agent.Run[string](t.Context(), a, "go")
		p := paused(t, err)
		store.blind.Store(true)
		_, err = agent.Resume[string](t.Context(), a, p.Token, agent.Approve(p.Calls[0]))
		if p = paused(t, err); p.Reason != agent.PauseStore || ran.Load() != 0 {
			t.Fatalf("%s, %d mails", p.Reason, ran.Load())
		}
		store.blind.Store(false)
		res, err := agent.Resume[string](t.Context(), a, p.Token)
		stands(t, res, err)
		if err != nil || ran.Load() != 1 {
			t.Errorf("%d mails: %v", ran.Load(), err)
		}
	})
}

// Thresholds are announced by whoever's call crosses them, or finds that a lease that ran out has.
func TestCallsAnnounceTheThresholdsTheyCross(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		cap := callCap(budget.Account(), 10)
		cap.Soft = []int{20, 30, 40}
		l := ledgerOf(t, cap)
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			switch turn.N {
			case 0: // by the time of the call its lease is over
				if _, err := l.Reserve(t.Context(), budget.Request{ID: "dead", Amounts: budget.Amounts{ToolCalls: 2}, Lease: time.Second}); err != nil {
					t.Error(err)
				}
				r := calls(mailCall())
				r.Delay = 2 * time.Second
				return r
			case 1:
				return calls(mailCall())
			}
			return say("done")
		})
		var ran atomic.Int64
		live := agent.Start[string](t.Context(), open(t, m, agent.Config{Tools: []tools.Tool{mail(&ran)}, Ledger: l}), "go")
		var crossed []int
		for e := range live.Events() {
			if c, ok := e.(agent.CapCrossed); ok && c.Cap == cap.ID() {
				crossed = append(crossed, c.Percent)
			}
		}
		res, err := live.Result()
		stands(t, res, err)
		if err != nil || ran.Load() != 2 || !slices.Equal(crossed, []int{20, 30, 40}) {
			t.Errorf("%d mails, crossed were %v: %v", ran.Load(), crossed, err)
		}
	})
}

// Of two calls that wait only the first asks the store; the model is told the same of both.
func TestCallsThatStoodInLineInVainAreToldWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(mailCall(), mailCall()), say("done"))
		l := ledgerOf(t, callCap(budget.Account(), 1))
		if _, err := l.Reserve(t.Context(), budget.Request{ID: "other", Amounts: budget.Amounts{ToolCalls: 1}, Lease: time.Hour}); err != nil {
			t.Fatal(err)
		}
		var ran atomic.Int64
		live := agent.Start[string](t.Context(), open(t, m, agent.Config{Tools: []tools.Tool{mail(&ran, tools.ReadOnly())}, Ledger: l}), "go")
		denied := 0
		for e := range live.Events() {
			if d, ok := e.(agent.BudgetDenied); ok && d.Kind == "held" && d.Tool == "mail" {
				denied++
			}
		}
		res, err := live.Result()
		stands(t, res, err)
		said := toolMessages(res)
		if err != nil || ran.Load() != 0 || len(said) != 2 || denied != 2 {
			t.Fatalf("%d mails, told %q, denied %d times: %v", ran.Load(), said, denied, err)
		}
		for _, s := range said {
			if !strings.Contains(s, "limit of 1 tool calls") || !strings.Contains(s, "calls that are under way") || !strings.Contains(s, "once more later") {
				t.Errorf("the model is told %q", s)
			}
		}
	})
}

// A run that is cancelled while its call waits was not denied anything.
func TestACallThatIsCancelledWhileItWaitsWasNotDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(mailCall()), say("done"))
		l := ledgerOf(t, callCap(budget.Account(), 1))
		if _, err := l.Reserve(t.Context(), budget.Request{ID: "other", Amounts: budget.Amounts{ToolCalls: 1}, Lease: time.Hour}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		time.AfterFunc(4*time.Second, cancel)
		var ran atomic.Int64
		live := agent.Start[string](ctx, open(t, m, agent.Config{Tools: []tools.Tool{mail(&ran)}, Ledger: l}), "go")
		for e := range live.Events() {
			switch e := e.(type) {
			case agent.BudgetDenied:
				t.Errorf("%+v", e)
			case agent.HeldDone:
				if e.OK || e.Waited != 4*time.Second {
					t.Errorf("%+v", e)
				}
			}
		}
		res, err := live.Result()
		stands(t, res, err)
		if res.Stop != agent.StopCanceled || ran.Load() != 0 {
			t.Errorf("stopped by %s, %d mails", res.Stop, ran.Load())
		}
	})
}

// A ledger that was shut down refuses the call; nobody has to wait for it.
func TestACallOnAClosedLedgerIsNotRun(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	l := ledgerOf(t, callCap(budget.Account(), 5))
	m.Model(func(gridtest.Turn) gridtest.Reply {
		if err := l.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		return calls(mailCall())
	})
	var ran atomic.Int64
	res, err := agent.Run[string](t.Context(), open(t, m, agent.Config{Tools: []tools.Tool{mail(&ran)}, Ledger: l}), "go")
	stands(t, res, err)
	if said := toolMessages(res); !errors.Is(err, budget.ErrClosed) || res.Stop == agent.StopPaused || ran.Load() != 0 || len(said) != 1 || !strings.Contains(said[0], "not run") {
		t.Errorf("stopped by %s, %d mails, told %q: %v", res.Stop, ran.Load(), said, err)
	}
}

// The model is told which limit refused a call, and whether to ask again, but not whom it works for.
func TestARefusedCallIsExplainedByItsLimit(t *testing.T) {
	for _, tc := range []struct {
		name, target, per string
		limit             int64
		says              []string
	}{
		{"of the tool, for ever", "tool mail", "lifetime", 1, []string{"1 tool calls for tool mail, per lifetime, is used up and does not reset", "Do not try it again"}},
		{"of a tag", "each tag:team", "day UTC", 1, []string{"1 tool calls for this team, per day UTC, is used up until 2000-01-02T00:00:00Z", "Do not try it again"}},
		{"of the agent, less than one call", "agent desk", "day UTC", 1, []string{"1 gpu seconds for agent desk, per day UTC, is less than the 2 gpu seconds of one call", "go on without it"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				turns(m, calls(mailCall()), calls(mailCall()), say("done"))
				target, err := budget.ParseTarget(tc.target)
				if err != nil {
					t.Fatal(err)
				}
				per, err := budget.ParseWindow(tc.per)
				if err != nil {
					t.Fatal(err)
				}
				cap := budget.Cap{For: target, Meter: budget.MeterToolCalls, Limit: tc.limit, Per: per}
				var uses []tools.Option
				if tc.target == "agent desk" {
					cap.Meter, uses = budget.Custom("gpu_seconds"), []tools.Option{tools.Uses("gpu_seconds", 2)}
				}
				var ran atomic.Int64
				a := open(t, m, agent.Config{Tools: []tools.Tool{mail(&ran, uses...)}, Ledger: ledgerOf(t, cap)})
				res, err := agent.Run[string](t.Context(), a, "go", agent.Tags(map[string]string{"team": "secret-team"}))
				stands(t, res, err)
				said := toolMessages(res)
				if err != nil || len(said) != 2 || strings.Contains(said[1], "secret") || strings.Contains(said[1], "under way") {
					t.Fatalf("told %q: %v", said, err)
				}
				for _, want := range tc.says {
					if !strings.Contains(said[1], want) {
						t.Errorf("the model is told %q, without %q", said[1], want)
					}
				}
			})
		})
	}
}

// A run that is resumed a second time, since the first process died, counts what that left open in later calls, too.
func TestALaterCallOfADeadIncarnationCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(gridtest.Call("ask", "{}")), calls(mailCall()), say("done"))
		cap := callCap(budget.Each("tool"), 5)
		l := ledgerOf(t, cap)
		var ran atomic.Int64
		ask := tools.New("ask", "Ask.", func(context.Context, empty) (string, error) { return "yes", nil }, tools.NeedsApproval())
		a := open(t, m, agent.Config{Tools: []tools.Tool{ask, mail(&ran)}, Ledger: l})
		_, err := agent.Run[string](t.Context(), a, "go")
		p := paused(t, err)
		key := strings.Replace(p.Calls[0].Key, "/0/", "/1/", 1) // of the next turn
		if _, err := l.Reserve(t.Context(), budget.Request{ID: key + "/dead", Scopes: []budget.Scope{mailTool}, Amounts: budget.Amounts{ToolCalls: 1}}); err != nil {
			t.Fatal(err)
		}
		live := agent.Reopen[string](t.Context(), a, p.Token, agent.Approve(p.Calls[0]))
		for e := range live.Events() {
			if f, ok := e.(agent.ToolFinished); ok && f.Name == "mail" && f.Key != key {
				t.Errorf("the call's key is %s, not %s: the test shows nothing", f.Key, key)
			}
		}
		res, err := live.Result()
		stands(t, res, err)
		if s := state(t, l, cap.ID(), mailTool); err != nil || ran.Load() != 1 || s.Settled != 2 || s.Unconfirmed != 1 || s.Held != 0 {
			t.Errorf("%d mails, %+v: %v", ran.Load(), s, err)
		}
	})
}
