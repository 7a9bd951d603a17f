package ledger

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"pgregory.net/rapid"
)

// naive is a store as it is often written, for caps on money that never turn. As it stands it is right; each mistake can
// be switched on by itself.
type naive struct {
	budget.Store // what is not asked of it

	checkThenAdd bool // somebody else may come between the look and the booking
	apart        bool // of several caps, one is booked after the other
	releases     bool // a lease that runs out gives its reservation back

	mu     sync.Mutex
	caps   []budget.CapRecord
	counts map[string]*sums
	rows   map[string]*naiveRow
}

type sums struct{ settled, held int64 }

type naiveRow struct {
	links   []budget.Link
	bound   int64
	state   budget.State
	expires time.Time
}

func (n *naive) Traits() budget.Traits { return budget.Traits{} }
func (n *naive) Close() error          { return nil }

func (n *naive) Define(_ context.Context, _, by string, caps []budget.Cap) (int64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counts, n.rows = map[string]*sums{}, map[string]*naiveRow{}
	for _, c := range caps {
		n.caps = append(n.caps, budget.CapRecord{Cap: c, Version: 1, By: by, At: time.Now(), Key: c.ID()})
	}
	return 1, nil
}

func (n *naive) Caps(context.Context, string, int64) (budget.CapSet, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return budget.CapSet{Version: 1, Full: true, Caps: slices.Clone(n.caps)}, nil
}

func (n *naive) count(l budget.Link) *sums {
	key := fmt.Sprint(l.Cap, l.Scopes)
	if n.counts[key] == nil {
		n.counts[key] = &sums{}
	}
	return n.counts[key]
}

func (n *naive) state(l budget.Link) budget.CapState {
	i := slices.IndexFunc(n.caps, func(c budget.CapRecord) bool { return c.Key == l.Cap })
	s, limit := n.count(l), n.caps[i].Limit
	return budget.CapState{Cap: l.Cap, Scope: l.Scopes[0], Meter: budget.MeterMoney, Limit: limit,
		Settled: s.settled, Held: s.held, Left: max(limit-s.settled-s.held, 0)}
}

// pause lets others in, where the mistake is that they may come.
func (n *naive) pause(mistake bool) {
	if mistake {
		n.mu.Unlock()
		for range 20 {
			runtime.Gosched()
		}
		n.mu.Lock()
	}
}

func (n *naive) Reserve(_ context.Context, _ string, op *budget.ReserveOp, ans *budget.Answer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	ans.Reset()
	ans.Now = time.Now()
	n.sweep(ans)
	asked := op.Amounts.NanoUSD
	for _, l := range op.Links {
		s := n.state(l)
		if asked <= s.Left {
			continue
		}
		v := budget.Violation{Cap: l.Cap, Scope: l.Scopes[0], Meter: budget.MeterMoney, Kind: budget.KindSpent, Limit: s.Limit, Settled: s.Settled, Held: s.Held, Requested: asked}
		switch {
		case asked > s.Limit:
			v.Kind = budget.KindTooBig
		case s.Settled+asked <= s.Limit:
			v.Kind = budget.KindHeld
		}
		ans.Violations = append(ans.Violations, v)
	}
	if len(ans.Violations) == 0 {
		n.pause(n.checkThenAdd)
		r := &naiveRow{bound: asked, state: budget.StateOpen, expires: ans.Now.Add(op.Lease)}
		for _, l := range op.Links {
			r.links = append(r.links, budget.Link{Cap: l.Cap, Scopes: slices.Clone(l.Scopes), Window: l.Window})
		}
		n.rows[op.ID] = r
		for i, l := range r.links {
			n.pause(n.apart && i > 0)
			n.count(l).held += asked
		}
		ans.State, ans.Reserved = r.state, op.Amounts
	}
	for _, l := range op.Links {
		ans.Left = append(ans.Left, n.state(l))
	}
	return nil
}

func (n *naive) Sweep(_ context.Context, _ string, _ int, ans *budget.Answer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	ans.Reset()
	ans.Now = time.Now()
	n.sweep(ans)
	return nil
}

func (n *naive) sweep(ans *budget.Answer) {
	for id, r := range n.rows {
		if r.state != budget.StateOpen || ans.Now.Before(r.expires) {
			continue
		}
		r.state = budget.StateExpired
		ans.Expired = append(ans.Expired, id)
		for _, l := range r.links {
			n.count(l).held -= r.bound
			if !n.releases {
				n.count(l).settled += r.bound
			}
		}
	}
}

func (n *naive) Settle(_ context.Context, _, id string, actual budget.Amounts, ans *budget.Answer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	ans.Reset()
	ans.Now = time.Now()
	r := n.rows[id]
	for i, l := range r.links {
		n.pause(n.apart && i > 0)
		c := n.count(l)
		switch {
		case r.state == budget.StateOpen:
			c.held -= r.bound
		case !n.releases:
			c.settled -= r.bound
		}
		c.settled += actual.NanoUSD
	}
	for _, l := range r.links {
		ans.Left = append(ans.Left, n.state(l))
	}
	r.state = budget.StateSettled
	ans.State, ans.Reserved, ans.Actual = r.state, budget.Amounts{NanoUSD: r.bound}, actual
	return nil
}

func (n *naive) Snapshot(_ context.Context, _ string, links []budget.Link) (out []budget.CapState, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range links {
		out = append(out, n.state(l))
	}
	return out, nil
}

// wrong is a store that does everything, and one thing wrong.
type wrong struct {
	budget.Store
	releases bool // a lease that runs out gives its reservation back
	forgets  bool // the last cap of a chain is not counted
	late     bool // settling twice counts twice
	lendless bool // nothing is drawn from allowances
}

func (s wrong) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	less := *op
	if s.forgets {
		less.Links = less.Links[:len(less.Links)-1]
	}
	if s.lendless {
		less.From = ""
	}
	err := s.Store.Reserve(ctx, account, &less, ans)
	return s.release(ctx, account, ans, err)
}

func (s wrong) Sweep(ctx context.Context, account string, most int, ans *budget.Answer) error {
	return s.release(ctx, account, ans, s.Store.Sweep(ctx, account, most, ans))
}

func (s wrong) release(ctx context.Context, account string, ans *budget.Answer, err error) error {
	for _, id := range ans.Expired {
		if s.releases && err == nil {
			var void budget.Answer
			err = s.Store.Void(ctx, account, id, budget.ProofDial, &void)
		}
	}
	return err
}

func (s wrong) Settle(ctx context.Context, account, id string, actual budget.Amounts, ans *budget.Answer) error {
	if err := s.Store.Settle(ctx, account, id, actual, ans); err != nil || !s.late || !ans.Duplicate {
		return err
	}
	return s.Store.TrueUp(ctx, account, id, actual.Add(actual), "again", ans)
}

// The test of the test: a store that is wrong in one way does not follow the reference.
func TestWrongStoresDoNotFollowTheReference(t *testing.T) {
	for _, test := range []struct {
		name  string
		store wrong
		right bool
	}{
		{"leases are given back", wrong{releases: true}, false},
		{"a cap of the chain is forgotten", wrong{forgets: true}, false},
		{"settling twice counts twice", wrong{late: true}, false},
		{"nothing is drawn from allowances", wrong{lendless: true}, false},
		{"nothing is wrong", wrong{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := false
			for round := 0; round < 40 && !found && (round == 0 || !test.right); round++ { // chance decides which history finds it
				must(t, flag.Set("rapid.seed", fmt.Sprint(round+1)))
				test.store.Store = budget.NewMemory(budget.Volatile())
				found = refuted(t, func(t rapid.TB) { follow(untimed{t}, []budget.Store{test.store}, false) })
			}
			if found == test.right {
				t.Fatalf("found out: %v", found)
			}
		})
	}
}

// bearer takes a failure for an answer.
type bearer struct {
	*testing.T
	failed bool
}

func (b *bearer) Errorf(string, ...any) { b.failed = true }
func (b *bearer) Error(...any)          { b.failed = true }
func (b *bearer) Fail()                 { b.failed = true }
func (b *bearer) Failed() bool          { return b.failed }
func (b *bearer) Logf(string, ...any)   {}
func (b *bearer) Log(...any)            {}
func (b *bearer) FailNow()              { b.failed = true; runtime.Goexit() }
func (b *bearer) Fatal(...any)          { b.FailNow() }
func (b *bearer) Fatalf(string, ...any) { b.FailNow() }

// refuted reports whether a check fails.
func refuted(t *testing.T, check func(t rapid.TB)) bool {
	b := &bearer{T: t}
	var wg sync.WaitGroup
	wg.Go(func() { check(b) })
	wg.Wait()
	return b.failed
}
