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

// amnesiac is a store that loses the answer on a call, or forgets the call itself.
type amnesiac struct {
	budget.Store
	loses, forgets bool
}

func (s *amnesiac) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	err := s.Store.Reserve(ctx, account, op, ans)
	if s.loses && !op.Idle && err == nil && ans.Stale == "" {
		return errors.New("the answer was lost")
	}
	return err
}

func (s *amnesiac) Settle(ctx context.Context, account, id string, actual budget.Amounts, ans *budget.Answer) error {
	if s.forgets {
		return budget.ErrUnknownReservation
	}
	return s.Store.Settle(ctx, account, id, actual, ans)
}

// A call whose reservation was made, but not answered, is not sent, and holds nothing for long.
func TestAStepWhoseReservationWasNotAnsweredHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, say("done"))
		store := &amnesiac{Store: budget.NewMemory(budget.Volatile()), loses: true}
		a := open(t, m, agent.Config{Store: store, Caps: []budget.Cap{account()}})
		_, err := agent.Run[string](t.Context(), a, "go")
		if p := paused(t, err); p.Reason != agent.PauseStore || chats(m, 1) != 0 {
			t.Fatalf("%s after %d requests", p.Reason, chats(m, 1))
		}
		time.Sleep(time.Second)
		if s := state(t, a.Ledger(), account().ID()); s.Held != 0 || s.Settled != 0 {
			t.Errorf("after a second it stands at %+v", s)
		}
	})
}

// A store that has forgotten a reservation cannot take its settlement: the run says so, and ends with its answer.
func TestAStoreThatForgotIsWarnedOf(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	turns(m, say("done"))
	store := &amnesiac{Store: budget.NewMemory(budget.Volatile()), forgets: true}
	live := agent.Start[string](t.Context(), open(t, m, agent.Config{Store: store}), "go")
	warned := false
	for e := range live.Events() {
		if w, ok := e.(agent.Warning); ok {
			warned = warned || strings.Contains(w.Text, "could not be settled") && strings.Contains(w.Text, "no such reservation")
		}
	}
	res, err := live.Result()
	stands(t, res, err)
	if err != nil || res.Text != "done" || !warned {
		t.Errorf("%q, warned %t: %v", res.Text, warned, err)
	}
}

// Thresholds are announced whether a call crosses them by its use, by a bound that it is charged at, or by the lease of
// another that it finds to be over.
func TestStepsAnnounceTheThresholdsTheyCross(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(lookCall()), say("done"))
		m.Fault(gridtest.Fault{Kind: gridtest.Status, Status: 502, Hop: 2})
		cap := budget.Cap{For: budget.Account(), Meter: budget.MeterRequests, Limit: 10, Per: budget.Lifetime(), Soft: []int{20, 30, 40, 50}}
		l := ledgerOf(t, cap)
		if _, err := l.Reserve(t.Context(), budget.Request{ID: "dead", Amounts: budget.Amounts{Requests: 2}, Lease: time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		live := agent.Start[string](t.Context(), open(t, m, agent.Config{Tools: []tools.Tool{look()}, Ledger: l}), "go")
		var crossed []int
		for e := range live.Events() {
			if c, ok := e.(agent.CapCrossed); ok {
				crossed = append(crossed, c.Percent)
			}
		}
		res, err := live.Result()
		stands(t, res, err)
		if err != nil || !slices.Equal(crossed, []int{20, 30, 40, 50}) {
			t.Errorf("crossed were %v: %v", crossed, err)
		}
	})
}

// A refusal may have found that leases of others were over, and crossed thresholds by charging them.
func TestARefusalAnnouncesTheThresholdsItCrossed(t *testing.T) {
	for _, policy := range []agent.HeldPolicy{agent.HeldRetry, agent.HeldLine} {
		synctest.Test(t, func(t *testing.T) {
			m := newMarket(t, gridtest.Config{})
			turns(m, calls(mailCall()), say("done"))
			cap := callCap(budget.Account(), 10)
			cap.Soft = []int{20, 60}
			tokens := account()
			tokens.Meter, tokens.Limit, tokens.Soft = budget.MeterTokens, 10_000, []int{10, 90}
			l := ledgerOf(t, cap, tokens)
			for id, r := range map[string]budget.Request{
				"calls":      {Amounts: budget.Amounts{ToolCalls: 6}, Lease: 5 * time.Second},
				"more calls": {Amounts: budget.Amounts{ToolCalls: 4}, Lease: time.Hour},
				"tokens":     {Amounts: budget.Amounts{Tokens: 9500}, Lease: time.Second},
			} {
				r.ID = id
				if _, err := l.Reserve(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Second)
			var ran atomic.Int64
			a := open(t, m, agent.Config{Tools: []tools.Tool{mail(&ran)}, Ledger: l, Spending: agent.Spending{Held: policy}})
			seen := map[string][]int{}
			watch := func() {
				live := agent.Start[string](t.Context(), a, "go")
				for e := range live.Events() {
					if c, ok := e.(agent.CapCrossed); ok {
						seen[c.Cap] = append(seen[c.Cap], c.Percent)
					}
				}
				res, err := live.Result()
				stands(t, res, err)
			}
			watch() // of the tokens nothing is left
			if !slices.Equal(seen[tokens.ID()], []int{10, 90}) {
				t.Errorf("%s: of the tokens were crossed %v", policy, seen[tokens.ID()])
			}
			if err := l.Define(t.Context(), "ann", budget.Cap{For: tokens.For, Meter: tokens.Meter, Limit: budget.None, Per: tokens.Per}); err != nil {
				t.Fatal(err)
			}
			watch() // the call waits in vain, and the first lease is over meanwhile
			if ran.Load() != 0 || !slices.Equal(seen[cap.ID()], []int{20, 60}) {
				t.Errorf("%s: %d mails, of the calls were crossed %v", policy, ran.Load(), seen[cap.ID()])
			}
		})
	}
}
