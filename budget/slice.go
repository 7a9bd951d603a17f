package budget

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Slices says how a replica leases parts of caps. The zero value of each field is its default.
type Slices struct {
	// Replicas is how many replicas share the store; 4. It only governs how large slices are.
	Replicas int
	// Lease is how long a slice stands without a sign of life; a minute. A replica that dies is charged for its slices in
	// full after that, and one whose store is away goes on spending what it holds for that long.
	Lease time.Duration
	// Check is how often the store is asked whether something was frozen or redefined; a second. It must be shorter than
	// Lease.
	Check time.Duration
}

// Slice lets a replica lease a part of the caps at once and admit requests from it without asking the store again. It suits
// requests that name the same scopes many times over, a gateway's by tenant and instrument: each set of scopes has slices of
// its own. The result is a Store for [Open], used by one process; closing it gives back what is left and closes store.
//
//	store <- one reservation for many calls, sized free/(2 x replicas), 2 % of the limit at most
//	           <- calls, here: reserve, settle
//
// Since a slice is a reservation, the bound of law 1 does not change: what is spent from a slice never exceeds it, but for
// recorded overruns, and a replica that dies is charged for all of it, until somebody corrects that by TrueUp of the slice,
// whose id begins with "slice/". A slice that was not used for a quarter of its lease is given back with the next call of any
// scopes, or a Sweep; one that holds what another set of scopes lacks, after Check. An overrun is told to the store when the
// calls in flight within its slice have ended. Near the limit, where a slice would hold less than two calls, each call asks the
// store, as do idle reservations and those that are taken from one. A freeze, a new limit and the turn of a window are noticed
// within Check while the store can be reached.
//
// What it costs: the counts of CapState show whole slices as held, with what was settled or ran out in them, and Top shows
// them as one call each; windows count a call by the admission of its slice. Thresholds fire when slices are settled, and
// are announced to whoever is answered next, those of Close to nobody. Charge is not shown as unconfirmed, and reservations
// made here are known to this process only: after a crash [ErrUnknownReservation].
func Slice(store Store, s Slices) (Store, error) {
	var errs fieldErrors
	if s.Replicas == 0 {
		s.Replicas = 4
	}
	if s.Lease == 0 {
		s.Lease = time.Minute
	}
	if s.Check == 0 {
		s.Check = time.Second
	}
	if s.Replicas < 0 {
		errs.add("Slices.Replicas", fmt.Sprintf("%d is negative", s.Replicas), "write how many replicas share the store")
	}
	errs.wrap("Slices", checkLease("Lease", s.Lease))
	if s.Check < 0 || s.Check >= s.Lease {
		errs.add("Slices.Check", fmt.Sprintf("%v is not between 0 and the lease of %v", s.Check, s.Lease), "write a second or so")
	}
	if err := errs.join(); err != nil {
		return nil, err
	}
	return &sliced{Store: store, cfg: s, replica: rand.Text(), part: 50, lanes: map[string]*lane{}, rows: map[sliceKey]*sliceRow{}, direct: map[sliceKey]bool{}, news: map[string]*sliceNews{}}, nil
}

type sliced struct {
	Store
	cfg     Slices
	replica string
	part    int64 // a slice is at most this part of a limit

	mu     sync.Mutex // of all below, and of slices and rows; never held while the store is asked
	lanes  map[string]*lane
	rows   map[sliceKey]*sliceRow
	ended  []*sliceRow // oldest first
	owed   []*slice    // ended, and still to be settled in the store
	made   int
	tidied time.Time
	news   map[string]*sliceNews // by account

	// What asked the store for itself asks it again if it is repeated, or it would be reserved twice.
	direct map[sliceKey]bool
	asked  []sliceKey // oldest first
}

type sliceKey struct{ account, id string }

// sliceNews is what the store said when a slice was settled, for whoever is answered next.
type sliceNews struct {
	crossed []Crossing
	expired []string
}

func (s *sliced) hear(account string, ans *Answer) {
	if len(ans.Crossed)+len(ans.Expired) == 0 {
		return
	}
	n := s.news[account]
	if n == nil {
		n = &sliceNews{}
		s.news[account] = n
	}
	n.crossed = append(n.crossed, ans.Crossed...)
	n.expired = append(n.expired, ans.Expired...)
}

// tell adds it to an answer. The caller holds the lock.
func (s *sliced) tell(account string, ans *Answer) {
	if n := s.news[account]; n != nil {
		ans.Crossed = append(ans.Crossed, n.crossed...)
		ans.Expired = append(ans.Expired, n.expired...)
		delete(s.news, account)
	}
}

// lane is one set of scopes. Its lock is held while a slice is checked or fetched, so that one caller does it for all.
type lane struct {
	mu   sync.Mutex
	gone bool // nothing is sliced here any more
	used time.Time
	now  *slice
	left []CapState // what the store said last
}

// slice is one reservation in the store.
type slice struct {
	pay         sync.Mutex // held while the store is told what the slice came to
	tried       bool       // it was told asked, and may have heard
	asked       Amounts
	account, id string
	size        Amounts
	used, open  Amounts
	calls       int
	version     int64
	links       []Link
	until       time.Time // of the lease, by this process's clock, on the safe side
	checked     time.Time
	retired     bool // nothing more is taken from it
	owed        bool // all calls have ended, and the store is to be told
	settled     bool // in the store
	corrections int
	left        []CapState
}

// sliceRow is one reservation within a slice.
type sliceRow struct {
	one     sync.Mutex // held while it is settled, so that two who do it at once follow each other
	id      string
	scopes  []Scope
	of      *slice
	bound   Amounts
	actual  Amounts
	state   State
	at      time.Time
	until   time.Time
	sources map[string]Amounts
	said    bool    // usage was reported
	usage   Amounts // as it was
}

// mostSliceRows is how many ended reservations are remembered for repeated settlements and receipts.
const mostSliceRows = 1 << 16

func laneKey(account string, op *ReserveOp) string {
	var b strings.Builder
	b.WriteString(account)
	for _, s := range op.Scopes {
		b.WriteString("\x00" + s.Kind + "\x00" + s.Name)
	}
	a := op.Amounts
	fmt.Fprintf(&b, "\x00%t%t%t%t", a.NanoUSD > 0, a.Tokens > 0, a.Requests > 0, a.ToolCalls > 0)
	return b.String()
}

// Reserve implements [Store].
func (s *sliced) Reserve(ctx context.Context, account string, op *ReserveOp, ans *Answer) error {
	err := s.reserve(ctx, account, op, ans)
	if err == nil && ans.Stale == "" {
		s.mu.Lock()
		s.tell(account, ans)
		s.mu.Unlock()
	}
	return err
}

func (s *sliced) reserve(ctx context.Context, account string, op *ReserveOp, ans *Answer) error {
	s.mu.Lock()
	at := sliceKey{account, op.ID}
	if row := s.rows[at]; row != nil {
		defer s.mu.Unlock()
		return row.again(op, ans)
	}
	if op.Idle || op.Swap != "" || op.From != "" || op.DryRun || len(op.Amounts.Custom) > 0 {
		s.mu.Unlock()
		return s.Store.Reserve(ctx, account, op, ans)
	}
	if s.direct[at] {
		s.mu.Unlock()
		return s.Store.Reserve(ctx, account, op, ans)
	}
	key := laneKey(account, op)
	l := s.lanes[key]
	if l == nil {
		l = &lane{used: time.Now()}
		s.lanes[key] = l
	}
	s.mu.Unlock()
	s.tidy(ctx, s.quiet(), s.cfg.Check)
	s.pay(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used = time.Now()
	if sl := l.now; sl != nil {
		if done, err := s.check(ctx, account, l, op, ans); done || err != nil {
			return err
		}
		if l.now != nil && s.take(l.now, op, ans) {
			return nil
		}
		s.retire(ctx, l)
	}
	size, ok := s.size(l.left, op.Amounts)
	if !ok || l.gone {
		return s.forward(ctx, account, l, op, ans)
	}
	s.mu.Lock()
	s.made++
	sl := &slice{account: account, id: fmt.Sprintf("slice/%s/%d", s.replica, s.made), size: size, version: op.Version, links: slices.Clone(op.Links)}
	s.mu.Unlock()
	sl.checked = time.Now()
	sl.until = sl.checked.Add(s.cfg.Lease * 9 / 10)
	err := s.Store.Reserve(ctx, account, &ReserveOp{ID: sl.id, Scopes: op.Scopes, Amounts: size, Lease: s.cfg.Lease, Version: op.Version, Links: op.Links}, ans)
	if err != nil { // the answer may have been lost, not the slice
		s.mu.Lock()
		sl.retired = true
		s.owe(sl)
		s.mu.Unlock()
		return err
	}
	if ans.Stale != "" {
		return nil
	}
	if len(ans.Violations) > 0 {
		return s.forward(ctx, account, l, op, ans)
	}
	sl.left = copied(ans.Left)
	crossed, expired := copied(ans.Crossed), copied(ans.Expired)
	l.left, l.now = sl.left, sl
	s.take(sl, op, ans)
	ans.Crossed, ans.Expired = append(ans.Crossed, crossed...), append(ans.Expired, expired...)
	return nil
}

// forward asks the store for this call alone.
func (s *sliced) forward(ctx context.Context, account string, l *lane, op *ReserveOp, ans *Answer) error {
	s.mu.Lock()
	at := sliceKey{account, op.ID}
	s.direct[at] = true
	if s.asked = append(s.asked, at); len(s.asked) > mostSliceRows {
		delete(s.direct, s.asked[0])
		s.asked = s.asked[1:]
	}
	s.mu.Unlock()
	err := s.Store.Reserve(ctx, account, op, ans)
	held := func(v Violation) bool { return v.Kind == KindHeld }
	if err == nil && slices.ContainsFunc(ans.Violations, held) && s.tidy(ctx, s.cfg.Check, 0) {
		crossed, expired := copied(ans.Crossed), copied(ans.Expired)
		err = s.Store.Reserve(ctx, account, op, ans) // our own slices held it
		ans.Crossed, ans.Expired = append(ans.Crossed, crossed...), append(ans.Expired, expired...)
	}
	if err == nil && len(ans.Left) > 0 {
		l.left = copied(ans.Left)
	}
	return err
}

// check sees to it that the present slice may still be used. It is done when ans holds the answer to the caller.
func (s *sliced) check(ctx context.Context, account string, l *lane, op *ReserveOp, ans *Answer) (done bool, err error) {
	sl, now := l.now, time.Now()
	if !now.Before(sl.until) || sl.version != op.Version || !slices.EqualFunc(sl.links, op.Links, func(a, b Link) bool { return a.Cap == b.Cap && a.Window == b.Window }) {
		s.retire(ctx, l)
		return false, nil
	}
	if now.Sub(sl.checked) < s.cfg.Check {
		return false, nil
	}
	s.expire(now)
	err = s.Store.Reserve(ctx, account, &ReserveOp{ID: sl.id + "/check", Scopes: op.Scopes, Amounts: op.Amounts, Lease: s.cfg.Lease, Version: op.Version, Links: op.Links, DryRun: true}, ans)
	switch {
	case err != nil:
		return false, nil // the store is away: the slice is good until its lease ends
	case ans.Stale != "":
		s.retire(ctx, l)
		return true, nil
	}
	frozen := slices.DeleteFunc(copied(ans.Violations), func(v Violation) bool { return v.Kind != KindFrozen })
	if len(frozen) > 0 {
		ans.Violations = append(ans.Violations[:0], frozen...)
		return true, nil
	}
	l.left = copied(ans.Left)
	sl.checked = now
	if sl.until.Sub(now) < s.cfg.Lease*6/10 && s.Store.Renew(ctx, account, sl.id, s.cfg.Lease, ans) == nil {
		sl.until = now.Add(s.cfg.Lease * 9 / 10)
	}
	return false, nil
}

// size is how much to lease for calls of that much; false if a call had better ask for itself.
func (s *sliced) size(left []CapState, a Amounts) (Amounts, bool) {
	const most = 1 << 20
	calls := int64(0)
	for _, c := range left {
		asked := a.Get(c.Meter)
		if c.Limit == None || asked == 0 {
			continue
		}
		n := min(c.Left/int64(2*s.cfg.Replicas), c.Limit/s.part) / asked
		if calls == 0 || n < calls {
			calls = max(n, 1)
		}
	}
	if calls = min(calls, most); calls < 2 {
		return a, false
	}
	times := func(v int64) int64 { return Cost(v, calls*ppm) }
	return Amounts{NanoUSD: times(a.NanoUSD), Tokens: times(a.Tokens), Requests: times(a.Requests), ToolCalls: times(a.ToolCalls)}, true
}

// take admits a call from a slice, if it fits.
func (s *sliced) take(sl *slice, op *ReserveOp, ans *Answer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl.retired || !sl.used.Add(sl.open).Add(op.Amounts).above(sl.size).IsZero() {
		return false
	}
	now := time.Now()
	row := &sliceRow{id: op.ID, scopes: slices.Clone(op.Scopes), of: sl, bound: op.Amounts, state: StateOpen, at: now, until: now.Add(op.Lease)}
	sl.open = sl.open.Add(op.Amounts)
	sl.calls++
	s.rows[sliceKey{sl.account, op.ID}] = row
	row.answer(ans)
	return true
}

func (r *sliceRow) answer(ans *Answer) {
	ans.Reset()
	ans.Now, ans.State, ans.Reserved, ans.Actual, ans.Expires = time.Now(), r.state, r.bound, r.actual, r.until
	if r.state == StateSettled {
		ans.Over = r.actual.above(r.bound)
	}
	ans.Left = append(ans.Left, r.of.left...)
}

// again answers a repeated reserve.
func (r *sliceRow) again(op *ReserveOp, ans *Answer) error {
	switch {
	case op.Idle || op.Swap != "" || op.From != "" || !r.bound.Equal(op.Amounts) || !slices.Equal(r.scopes, op.Scopes):
		return r.refuse("reserve", ErrMismatch)
	case r.state != StateOpen:
		return r.refuse("reserve", ErrFinished)
	case !time.Now().Before(r.until):
		return &StateError{Op: "reserve", ID: r.id, State: StateExpired, Cause: ErrFinished}
	}
	r.answer(ans)
	ans.Duplicate = true
	return nil
}

// expire charges what was reserved here and whose lease is over.
func (s *sliced) expire(now time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, r := range s.rows {
		if r.state == StateOpen && !now.Before(r.until) {
			s.end(r, StateExpired, r.bound)
			ids = append(ids, r.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// end closes a row. The caller holds the lock.
func (s *sliced) end(r *sliceRow, state State, actual Amounts) {
	sl := r.of
	sl.open = sl.open.less(r.bound)
	sl.used = sl.used.Add(actual)
	r.state, r.actual = state, actual
	if !sl.used.above(sl.size).IsZero() {
		sl.retired = true // nobody else knows of an overrun before the slice is settled
	}
	sl.calls--
	s.owe(sl)
	if s.ended = append(s.ended, r); len(s.ended) > mostSliceRows {
		delete(s.rows, sliceKey{s.ended[0].of.account, s.ended[0].id})
		s.ended = s.ended[1:]
	}
}

func (a Amounts) less(b Amounts) Amounts {
	return Amounts{NanoUSD: minus(a.NanoUSD, b.NanoUSD), Tokens: minus(a.Tokens, b.Tokens), Requests: minus(a.Requests, b.Requests), ToolCalls: minus(a.ToolCalls, b.ToolCalls)}
}

// move changes what an ended row counts. A slice that was settled in the store is corrected there.
func (s *sliced) move(ctx context.Context, r *sliceRow, state State, actual Amounts) error {
	sl := r.of
	sl.pay.Lock()
	defer sl.pay.Unlock()
	s.mu.Lock()
	was := r.actual
	used := sl.used.less(was).Add(actual)
	if sl.tried && !sl.settled {
		s.mu.Unlock()
		return ErrUnavailable // whether it heard of the slice's end is not known yet
	}
	if !sl.settled {
		sl.used, r.actual, r.state = used, actual, state
		if !used.above(sl.size).IsZero() {
			sl.retired = true
			s.owe(sl)
		}
		s.mu.Unlock()
		return nil
	}
	sl.corrections++
	source := fmt.Sprintf("slice/%d", sl.corrections)
	s.mu.Unlock()
	var ans Answer
	if err := s.Store.TrueUp(ctx, sl.account, sl.id, used, source, &ans); err != nil {
		return err
	}
	s.mu.Lock()
	sl.used, r.actual, r.state = used, actual, state
	s.mu.Unlock()
	return nil
}
