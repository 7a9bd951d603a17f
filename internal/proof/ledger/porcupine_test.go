package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/gridloop/gridloop/budget"
)

// op is what a client asked, and said what it heard. sums are those of the caps that the operation touches, the account's
// first, if there is a cap on the account.
type op struct {
	what   string // "reserve", "settle", "look", "sweep"
	id     string
	tenant string
	nano   int64
}

type said struct {
	unknown bool // the answer was lost
	reason  error
	sums    []sums
	expired []string
}

// books is what a history has come to: the counts of the account and of each tenant, and what was reserved and not settled.
type books struct {
	counts map[string]sums
	rows   map[string]holding
}

type holding struct {
	tenant string
	bound  int64
	over   bool // its lease is, and it was charged
}

// rules are the limits of one history's caps; zero is no cap.
type limits struct{ account, tenant int64 }

func (l limits) touched(tenant string) (names []string, most []int64) {
	if l.account > 0 {
		names, most = append(names, ""), append(most, l.account)
	}
	if l.tenant > 0 {
		names, most = append(names, tenant), append(most, l.tenant)
	}
	return names, most
}

func (b books) clone() books { return books{maps.Clone(b.counts), maps.Clone(b.rows)} }

func (b books) add(l limits, tenant string, settled, held int64) {
	names, _ := l.touched(tenant)
	for _, name := range names {
		c := b.counts[name]
		b.counts[name] = sums{c.settled + settled, c.held + held}
	}
}

func (b books) read(l limits, tenant string) (out []sums) {
	names, _ := l.touched(tenant)
	for _, name := range names {
		out = append(out, b.counts[name])
	}
	return out
}

// reason is why a reserve is refused, nil if it is not.
func (b books) reason(l limits, tenant string, nano int64) error {
	grave := []error{nil, budget.ErrHeld, budget.ErrSpent, budget.ErrTooBig}
	worst := 0
	names, most := l.touched(tenant)
	for i, name := range names {
		c, why := b.counts[name], 0
		switch {
		case c.settled+c.held+nano <= most[i]:
		case nano > most[i]:
			why = 3
		case c.settled+nano <= most[i]:
			why = 1
		default:
			why = 2
		}
		worst = max(worst, why)
	}
	return grave[worst]
}

// steps are the books after an operation that was answered so; none if that cannot be.
func (b books) steps(l limits, o op, s said) (out []any) {
	next := b.clone()
	for _, id := range s.expired {
		h, ok := next.rows[id]
		if !ok || h.over {
			return nil
		}
		next.add(l, h.tenant, h.bound, -h.bound)
		h.over = true
		next.rows[id] = h
	}
	if s.unknown { // done, or not
		out = append(out, b)
	}
	switch o.what {
	case "reserve":
		reason := next.reason(l, o.tenant, o.nano)
		if !s.unknown && reason != s.reason {
			return nil
		}
		if reason == nil {
			next.add(l, o.tenant, 0, o.nano)
			next.rows[o.id] = holding{tenant: o.tenant, bound: o.nano}
		}
	case "settle":
		h, ok := next.rows[o.id]
		switch {
		case !ok:
			return out
		case h.over:
			next.add(l, h.tenant, o.nano-h.bound, 0)
		default:
			next.add(l, h.tenant, o.nano, -h.bound)
		}
		delete(next.rows, o.id)
	}
	if !s.unknown && s.sums != nil && !slices.Equal(s.sums, next.read(l, o.tenant)) {
		return nil
	}
	return append(out, next)
}

func modelOf(l limits, perTenant bool) porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{books{map[string]sums{}, map[string]holding{}}} },
		Step: func(state, in, out any) []any { return state.(books).steps(l, in.(op), out.(said)) },
		Equal: func(x, y any) bool {
			a, b := x.(books), y.(books)
			return maps.Equal(a.counts, b.counts) && maps.Equal(a.rows, b.rows)
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v: %+v", in, out) },
	}
	if perTenant { // no two tenants share a cap
		m.Partition = func(history []porcupine.Operation) [][]porcupine.Operation {
			parts := map[string][]porcupine.Operation{}
			for _, o := range history {
				who := o.Input.(op).tenant
				parts[who] = append(parts[who], o)
			}
			return slices.Collect(maps.Values(parts))
		}
	}
	return m.ToModel()
}

// plan is how a history is made.
type plan struct {
	limits  limits
	tenants int
	clients int
	ops     int  // of each client
	lose    bool // answers are lost at times, before or after the work was done
	crash   bool // clients die with calls in flight, or settle when their lease is over
}

var errLost = errors.New("connection reset")

// lossy is a store whose answers get lost.
type lossy struct {
	budget.Store
	mu  *sync.Mutex
	rnd *rand.Rand
	few *int // answers that may still be lost
}

func (s lossy) fate() (before, after bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.rnd.IntN(60); n < 2 && *s.few > 0 {
		*s.few--
		return n == 0, n == 1
	}
	return false, false
}

func (s lossy) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	before, after := s.fate()
	if before {
		return errLost
	}
	err := s.Store.Reserve(ctx, account, op, ans)
	if after {
		return errLost
	}
	return err
}

func (s lossy) Settle(ctx context.Context, account, id string, actual budget.Amounts, ans *budget.Answer) error {
	before, after := s.fate()
	if before {
		return errLost
	}
	err := s.Store.Settle(ctx, account, id, actual, ans)
	if after {
		return errLost
	}
	return err
}

// history lets clients loose on replicas of a store and writes down what they asked and heard.
func history(t *testing.T, replicas []budget.Store, account string, p plan, seed uint64) []porcupine.Operation {
	t.Helper()
	var caps []budget.Cap
	if p.limits.account > 0 {
		caps = append(caps, budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: p.limits.account, Per: budget.Lifetime()})
	}
	if p.limits.tenant > 0 {
		caps = append(caps, budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: p.limits.tenant, Per: budget.Lifetime()})
	}
	few := 6
	faults := lossy{mu: &sync.Mutex{}, rnd: rand.New(rand.NewPCG(seed, 2)), few: &few}
	var ledgers []*budget.Ledger
	for i, s := range replicas {
		if p.lose {
			faults.Store = s
			s = faults
		}
		cfg := budget.Config{Store: s, Account: account}
		if i == 0 {
			cfg.Caps = caps
		}
		l, err := budget.Open(t.Context(), cfg)
		must(t, err)
		ledgers = append(ledgers, l)
	}
	var mu sync.Mutex
	var all []porcupine.Operation
	begin := time.Now()
	clock := func() int64 { return int64(time.Since(begin)) }
	var wg sync.WaitGroup
	for client := range p.clients {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(client)+10))
			l := ledgers[client%len(ledgers)]
			c := caller{ctx: t.Context(), l: l, limits: p.limits}
			do := func(o op) said {
				from := clock()
				s, err := c.do(o)
				if err != nil {
					t.Errorf("%+v: %v", o, err)
				}
				to := clock()
				if s.unknown {
					to = math.MaxInt64 // nobody knows when it was done, if it was
				}
				mu.Lock()
				all = append(all, porcupine.Operation{ClientId: client, Input: o, Call: from, Output: s, Return: to})
				mu.Unlock()
				return s
			}
			for n := 0; n < p.ops && !t.Failed(); n++ {
				who := fmt.Sprintf("t%d", rnd.IntN(p.tenants))
				switch rnd.IntN(8) {
				case 0:
					do(op{what: "look", tenant: who})
					continue
				case 1:
					if p.crash {
						do(op{what: "sweep", tenant: who})
					}
					continue
				}
				o := op{what: "reserve", id: fmt.Sprintf("%d/%d", client, n), tenant: who, nano: 1 + rnd.Int64N(40)}
				c.lease = time.Hour
				dies, zombie := p.crash && rnd.IntN(6) == 0, p.crash && rnd.IntN(6) == 0
				if dies || zombie {
					c.lease = 2 * time.Millisecond
				}
				if s := do(o); s.unknown || s.reason != nil || dies {
					continue
				}
				if zombie {
					time.Sleep(2 * c.lease)
				}
				o.what, o.nano = "settle", rnd.Int64N(o.nano+1)
				do(o)
				n++
			}
		})
	}
	wg.Wait()
	return all
}

// caller asks one ledger.
type caller struct {
	ctx    context.Context
	l      *budget.Ledger
	limits limits
	lease  time.Duration
}

func (c *caller) do(o op) (s said, err error) {
	var left []budget.CapState
	switch o.what {
	case "reserve":
		var g budget.Grant
		g, err = c.l.Reserve(c.ctx, budget.Request{ID: o.id, Scopes: tenant(o.tenant), Amounts: money(o.nano), Lease: c.lease})
		left, s.expired = g.Left, g.Expired
		var d *budget.DeniedError
		if errors.As(err, &d) {
			left, s.expired, err = d.Left, d.Expired, nil
			s.reason = map[budget.Kind]error{budget.KindHeld: budget.ErrHeld, budget.KindSpent: budget.ErrSpent, budget.KindTooBig: budget.ErrTooBig}[d.Kind()]
		}
	case "settle":
		var settled budget.Settlement
		settled, err = c.l.Settle(c.ctx, o.id, money(o.nano))
		left = settled.Left
	case "look":
		left, err = c.l.Snapshot(c.ctx, tenant(o.tenant)...)
	case "sweep":
		var swept budget.Swept
		swept, err = c.l.Sweep(c.ctx, 3)
		s.expired = swept.Expired
	}
	if errors.Is(err, errLost) {
		return said{unknown: true}, nil
	}
	names, _ := c.limits.touched(o.tenant)
	for _, name := range names {
		for _, state := range left {
			if state.Scope.Name == name {
				s.sums = append(s.sums, sums{state.Settled, state.Held})
			}
		}
	}
	return s, err
}

// The plans. Limits are such that about half of the reserves are refused.
func plans() map[string]plan {
	clients, ops := 8, 40
	if long() {
		clients, ops = 16, 500
	}
	scale := int64(clients * ops)
	return map[string]plan{
		"one cap each":         {limits{tenant: scale}, 3, clients, ops, true, false},
		"two caps at once":     {limits{account: 3 * scale / 2, tenant: scale}, 2, clients, ops, true, false},
		"two caps and crashes": {limits{account: 3 * scale / 2, tenant: scale}, 2, clients, ops, false, true},
	}
}

// judge is what porcupine says of a history.
func judge(p plan, all []porcupine.Operation) porcupine.CheckResult {
	limit := 60 * time.Second
	if long() {
		limit = 10 * time.Minute
	}
	return porcupine.CheckOperationsTimeout(modelOf(p.limits, p.limits.account == 0 && !p.crash), all, limit)
}

// Whatever clients heard at the same time, there is an order in which it could have been said to one after the other, and in
// which no cap is passed and no cap of a chain is seen without the others.
func TestHistoriesAreLinearizable(t *testing.T) {
	seeds := 1
	if long() {
		seeds = 20
	}
	each(t, kinds, false, func(t *testing.T, k kind) {
		address := k.place(t)
		replicas := []budget.Store{k.replica(t, address), k.replica(t, address), k.replica(t, address)}
		for name, p := range plans() {
			for seed := range seeds {
				all := history(t, replicas, fmt.Sprint(name, " ", seed), p, uint64(seed))
				from := time.Now()
				if got := judge(p, all); got != porcupine.Ok {
					t.Errorf("%s, seed %d, %d operations: %s", name, seed, len(all), got)
				}
				refused, lost, ran := 0, 0, 0
				for _, o := range all {
					s := o.Output.(said)
					refused += map[bool]int{true: 1}[s.reason != nil]
					lost += map[bool]int{true: 1}[s.unknown]
					ran += len(s.expired)
				}
				t.Logf("%s: %d operations, %d refused, %d answers lost, %d leases ran out; judged in %v", name, len(all), refused, lost, ran, time.Since(from).Round(time.Millisecond))
				if refused == 0 || p.crash && ran == 0 {
					t.Errorf("%s: too little happened to prove anything", name)
				}
			}
		}
	})
}

// The test of the test: each mistake is found out in a history of the kind that is meant to find it, and the same store
// without mistakes is not.
func TestWrongHistoriesAreNotLinearizable(t *testing.T) {
	for _, test := range []struct {
		name  string
		plan  string
		store func() *naive
		right bool
	}{
		{"check, then add", "one cap each", func() *naive { return &naive{checkThenAdd: true} }, false},
		{"one cap after the other", "two caps at once", func() *naive { return &naive{apart: true} }, false},
		{"leases are given back", "two caps and crashes", func() *naive { return &naive{releases: true} }, false},
		{"nothing wrong with one cap", "one cap each", func() *naive { return &naive{} }, true},
		{"nothing wrong with two", "two caps at once", func() *naive { return &naive{} }, true},
		{"nothing wrong after crashes", "two caps and crashes", func() *naive { return &naive{} }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := plans()[test.plan]
			for seed := range uint64(20) {
				all := history(t, []budget.Store{test.store()}, "a", p, seed)
				got := judge(p, all)
				if test.right && got != porcupine.Ok {
					t.Fatalf("a store that is right was refused: %s", got)
				}
				if test.right || got == porcupine.Illegal {
					return
				}
			}
			t.Fatal("it was not found out")
		})
	}
}
