package budget_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// Two stores go through the same random history, one of them without the short cuts for calls that are as most are: they
// give the same answers, to the nanosecond and the nano-dollar.
func TestShortCutsLeadToTheSameAnswers(t *testing.T) {
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) { sameHistory(t, seed) })
	}
}

func sameHistory(t *testing.T, seed uint64) {
	const keep = 40
	rnd := rand.New(rand.NewPCG(seed, 1))
	ctx := context.Background()
	caps := []budget.Cap{
		{For: budget.Account(), Meter: budget.MeterMoney, Limit: 20_000, Per: budget.Fixed(time.Hour, time.Time{}), Soft: []int{10, 50, 90}},
		{For: budget.Each("tenant"), Meter: budget.MeterTokens, Limit: 9_000, Per: budget.Lifetime()},
		{For: budget.Each("run"), Meter: budget.MeterMoney, Limit: budget.None, Per: budget.Lifetime()},
		{For: budget.Each("run"), Meter: budget.MeterRequests, Limit: 400, Per: budget.Lifetime(), Soft: []int{5}},
	}
	if seed%4 == 3 {
		caps = append(caps, budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 9_000, Per: budget.Rolling(10 * time.Minute)})
	}
	stores := [2]*budget.Memory{}
	ledgers, heard := [2]*budget.Ledger{}, [2]*hearing{}
	for i := range stores {
		stores[i] = budget.NewMemory(budget.Volatile(), budget.Keep(keep))
		if i == 1 {
			budget.Thorough(stores[i])
		}
		heard[i] = &hearing{Store: stores[i]}
		ledgers[i] = openLedger(t, budget.Config{Store: heard[i], Caps: caps})
	}
	var grants [2]budget.Grant
	var settlements [2]budget.Settlement
	// both does the same on each store and compares what they say.
	both := func(what string, do func(i int) (any, error)) {
		t.Helper()
		a, errA := do(0)
		b, errB := do(1)
		if fmt.Sprint(errA) != fmt.Sprint(errB) || errA == nil && !reflect.DeepEqual(a, b) {
			t.Fatalf("history %d: %s: %+v, %v; without short cuts %+v, %v", seed, what, a, errA, b, errB)
		}
		if !reflect.DeepEqual(heard[0].last, heard[1].last) {
			t.Fatalf("history %d: %s: %+v; without short cuts %+v", seed, what, heard[0].last, heard[1].last)
		}
	}
	var made []string
	some := func() string {
		if len(made) == 0 || rnd.IntN(20) == 0 {
			return fmt.Sprint("unknown ", rnd.IntN(5))
		}
		return made[max(len(made)-1-rnd.IntN(12), 0)]
	}
	amounts := func(most int64) budget.Amounts {
		a := budget.Amounts{NanoUSD: rnd.Int64N(most), Tokens: rnd.Int64N(most) * rnd.Int64N(2), Requests: 1 + rnd.Int64N(2)}
		if rnd.IntN(25) == 0 {
			a = a.With(budget.Custom("pages"), rnd.Int64N(3))
		}
		return a
	}
	for step := range 1500 {
		switch n := rnd.IntN(100); {
		case n < 46:
			r := budget.Request{ID: fmt.Sprint("r", step), Amounts: amounts(300), Scopes: []budget.Scope{
				{Kind: "tenant", Name: fmt.Sprint(rnd.IntN(2))}, {Kind: "run", Name: fmt.Sprint(rnd.IntN(3))}}}
			switch rnd.IntN(12) {
			case 0:
				r.Lease = time.Duration(1+rnd.IntN(300)) * time.Second
			case 1:
				r.Idle = true
			case 2:
				r.Swap = some()
			case 3:
				r.From = some()
			case 4:
				r.ID = some()
			case 5:
				r.ID += "with a name that is too long to be kept where names are kept"
			}
			made = append(made, r.ID)
			both("reserve "+r.ID, func(i int) (any, error) {
				err := ledgers[i].ReserveInto(ctx, &r, &grants[i])
				return grants[i], err
			})
		case n < 82:
			id, used := some(), amounts([]int64{30, 300, 330}[rnd.IntN(3)])
			both("settle "+id, func(i int) (any, error) {
				err := ledgers[i].SettleInto(ctx, id, used, &settlements[i])
				return settlements[i], err
			})
		case n < 85:
			id := some()
			both("charge "+id, func(i int) (any, error) { return ledgers[i].Charge(ctx, id) })
		case n < 88:
			id := some()
			both("void "+id, func(i int) (any, error) { return nil, ledgers[i].Void(ctx, id, budget.ProofStatus429) })
		case n < 90:
			id := some()
			both("release "+id, func(i int) (any, error) { return nil, ledgers[i].Release(ctx, id) })
		case n < 92:
			id, used := some(), amounts(330)
			both("true-up "+id, func(i int) (any, error) { return ledgers[i].TrueUp(ctx, id, used, "receipt") })
		case n < 93:
			c := caps[rnd.IntN(2)]
			c.Limit = 1000 + rnd.Int64N(20_000)
			both("define", func(i int) (any, error) { return nil, ledgers[i].Define(ctx, "ann", c) })
		case n < 94:
			tenant := budget.Scope{Kind: "tenant", Name: "0"}
			both("freeze", func(i int) (any, error) {
				return nil, ledgers[i].Freeze(ctx, tenant, "", time.Now().Add(20*time.Second), "ann")
			})
		default:
			most := []time.Duration{time.Second, time.Minute, 10 * time.Minute}[rnd.IntN(3)]
			if rnd.IntN(30) == 0 {
				most = 60 * time.Hour
			}
			time.Sleep(time.Duration(rnd.Int64N(int64(most))))
		}
		if step%5 == 0 {
			both("snapshot", func(i int) (any, error) {
				return ledgers[i].Snapshot(ctx, budget.Scope{Kind: "tenant", Name: "1"}, budget.Scope{Kind: "run", Name: "2"})
			})
		}
		if a, b := budget.SizesOf(stores[0], "default"), budget.SizesOf(stores[1], "default"); a != b {
			t.Fatalf("history %d: it keeps %+v; without short cuts %+v", seed, a, b)
		}
	}
}

// hearing keeps what a store has answered last.
type hearing struct {
	budget.Store
	last budget.Answer
}

func (h *hearing) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	err := h.Store.Reserve(ctx, account, op, ans)
	h.hear(ans)
	return err
}

func (h *hearing) Settle(ctx context.Context, account, id string, actual budget.Amounts, ans *budget.Answer) error {
	err := h.Store.Settle(ctx, account, id, actual, ans)
	h.hear(ans)
	return err
}

func (h *hearing) hear(ans *budget.Answer) {
	h.last = *ans
	h.last.Left = append([]budget.CapState(nil), ans.Left...)
	h.last.Violations = append([]budget.Violation(nil), ans.Violations...)
	h.last.Crossed = append([]budget.Crossing(nil), ans.Crossed...)
	h.last.Expired = append([]string(nil), ans.Expired...)
}
