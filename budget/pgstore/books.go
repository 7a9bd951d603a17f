package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/codec"
	"github.com/gridloop/gridloop/budget/internal/rules"
	"github.com/jackc/pgx/v5"
)

// account is what this process knows of one account between batches: what is known to be still so by a version that each
// batch reads, and when there is something to do. Owned by whoever drains the queue.
type account struct {
	name  string
	queue queue

	id      int64 // 0 not known yet
	epoch   int64
	version int64
	highest int64 // version that was ever seen
	forgot  bool  // and will not be asked again
	edits   int64
	caps    map[string]*rules.Cap
	shared  int64 // version of the last change to a cap that any request may touch
	anchors map[budget.Scope]*anchor
	freezes map[budget.Scope]budget.Freeze

	ids  map[countKey]int64 // of counts; one that is gone is found out when it is locked
	seen map[int64]int64    // when counts were touched last, as this process knows: a server that says less has forgotten

	drawn  map[string]string // which open reservations of this process have drawn, and from what
	lacked map[string]bool   // allowances that attempts since the last commit should have locked

	last    int64 // the server's time in the last batch
	tending tending
}

type anchor struct {
	version int64
	caps    map[string]bool
}

type countKey struct {
	cap    string
	scopes [maxScopes]budget.Scope
	start  int64
}

const (
	// maxScopes is how many kinds one cap may join.
	maxScopes = 3
	// maxKnown bounds what is remembered of counts between batches.
	maxKnown = 100_000
	never    = math.MaxInt64
)

func newAccount(name string) *account {
	a := &account{name: name}
	a.distrust(nil)
	return a
}

// distrust forgets what may not be so after an error: everything but what would show that the server has forgotten.
func (a *account) distrust(err error) {
	a.forgot = a.forgot || errors.Is(err, ErrForgot)
	a.clearCaps()
	a.ids = map[countKey]int64{}
	if a.drawn == nil {
		a.drawn, a.lacked = map[string]string{}, map[string]bool{}
	}
	if a.seen == nil || len(a.seen) > maxKnown {
		a.seen = map[int64]int64{}
	}
}

func (a *account) clearCaps() {
	a.version, a.edits, a.shared = 0, -1, 0
	a.caps, a.anchors, a.freezes = map[string]*rules.Cap{}, map[budget.Scope]*anchor{}, map[budget.Scope]budget.Freeze{}
}

// learnFrom takes over what a committed batch knows.
func (a *account) learnFrom(b *books) {
	if len(a.ids) > maxKnown {
		a.ids = map[countKey]int64{}
	}
	if len(a.seen) > maxKnown {
		a.seen = map[int64]int64{}
	}
	for key, c := range b.counts {
		if !c.gone {
			a.ids[key] = c.ID
		}
	}
	for _, c := range b.changed {
		a.seen[c.ID] = b.now
	}
	clear(a.lacked)
	if len(a.drawn) > maxKnown {
		a.drawn = map[string]string{}
	}
	for id, r := range b.rows {
		switch {
		case r == nil || r.From == "":
		case r.Taken.IsZero():
			delete(a.drawn, id)
		default:
			a.drawn[id] = r.From
		}
	}
	for id, c := range b.byID {
		if c.gone {
			delete(a.seen, id)
		}
	}
	a.highest = max(a.highest, a.version)
	a.last = b.now
	a.tending.ended += b.ended
}

// count is a row of the table of counts.
type count struct {
	rules.Count
	reservations int64
	run          string
	dropped      bool
	fresh        bool // made by this batch
	err          error
	gone         bool // deleted
	dirty        bool
}

// row is a row of the table of reservations.
type row struct {
	rules.Row
	links string // as they were read
	kept  int64  // ended: until when
	fresh bool
	dirty bool
	err   error
}

// books is one transaction. Every row in it is locked until its end, so what was decided by it is so when it commits.
type books struct {
	store   *Store
	ctx     context.Context
	conn    *pgx.Conn
	account *account
	alone   bool
	now     int64
	clock   int64 // as it stands in the account's row
	floor   int64
	founded bool // the account's row is new, if the transaction commits
	edited  bool // the account's row must be written
	wrote   bool
	broken  error
	out     pgx.Batch // to be sent with the commit

	rows   map[string]*row // nil: there is none
	counts map[countKey]*count
	byID   map[int64]*count
	closed map[string]int64 // runs that were forgotten, until when
	due    []*row           // whose lease is over
	old    []*row           // ended, and to be forgotten
	found  map[countKey]int64
	fresh  map[int64]bool // counts that this batch has made

	changed     []*count
	reserved    []*row // to be inserted
	transformed []*row // to be updated
	nextOld     int64
	ended       int64
}

func (b *books) at() time.Time { return rules.At(b.now) }

// fail marks the transaction as one that cannot be committed.
func (b *books) fail(err error) error {
	if err != nil && b.broken == nil {
		b.broken = err
	}
	return err
}

// write is a statement that goes out with the commit, or before somebody asks the tables.
func (b *books) write(query string, args ...any) {
	b.wrote = true
	b.out.Queue(b.store.sql(query), args...)
}

// flush sends what was changed so far.
func (b *books) flush() error {
	b.queueWrites()
	if b.out.Len() == 0 {
		return nil
	}
	err := b.send(&b.out)
	b.out = pgx.Batch{}
	return b.fail(err)
}

// touch marks a reservation and its counts as changed.
func (b *books) touch(r *row) {
	if !r.dirty && !r.fresh {
		r.dirty = true
		b.transformed = append(b.transformed, r)
	}
	for i := range r.Links {
		b.touchCount(b.byID[r.Links[i].Count.ID])
	}
}

// touchTurned lists counts as changed if time has taken something out of them.
func (b *books) touchTurned(r *row) {
	for i := range r.Links {
		if r.Links[i].Count.Turned() {
			b.touchCount(b.byID[r.Links[i].Count.ID])
		}
	}
}

func (b *books) touchCount(c *count) {
	if !c.dirty {
		c.dirty = true
		b.changed = append(b.changed, c)
	}
}

func (r *row) due(now int64) (ended bool, due int64) {
	if r.State == budget.StateOpen {
		return false, r.Expires
	}
	if r.kept == 0 {
		r.kept = inTurn(r.KeepUntil, now)
	}
	return true, r.kept
}

// queueWrites queues what was changed, each table in one statement.
func (b *books) queueWrites() {
	b.queueReserved()
	b.queueTransformed()
	b.queueCounts()
	if b.edited {
		b.edited = false
		b.write("UPDATE @account SET version = $2, floor = $3, edits = $4 WHERE id = $1", b.account.id, b.account.version, b.floor, b.account.edits)
	}
}

func (b *books) queueReserved() {
	if len(b.reserved) == 0 {
		return
	}
	n := len(b.reserved)
	ids, swaps := make([][]byte, 0, n), make([][]byte, 0, n)
	scopes, states, bounds, actuals, links := make([]string, 0, n), make([]string, 0, n), make([]string, 0, n), make([]string, 0, n), make([]string, 0, n)
	ended, idle, late := make([]bool, 0, n), make([]bool, 0, n), make([]bool, 0, n)
	due, admitted, expires := make([]int64, 0, n), make([]int64, 0, n), make([]int64, 0, n)
	usage, corrections := make([]*string, 0, n), make([]string, 0, n)
	froms, taken := make([][]byte, 0, n), make([]*string, 0, n)
	for _, r := range b.reserved {
		over, at := r.due(b.now)
		ids, scopes, states, ended, due = append(ids, []byte(r.ID)), append(scopes, codec.EncodeScopes(r.Scopes)), append(states, string(r.State)), append(ended, over), append(due, at)
		admitted, expires, idle, late = append(admitted, r.Admitted), append(expires, r.Expires), append(idle, r.Idle), append(late, r.Late)
		swaps, bounds, actuals = append(swaps, []byte(r.Swap)), append(bounds, codec.EncodeAmounts(r.Bound)), append(actuals, codec.EncodeAmounts(r.Actual))
		usage, links, corrections = append(usage, r.usage()), append(links, codec.EncodeLinks(r.Links)), append(corrections, codec.EncodeCorrections(r.Corrections))
		froms, taken = append(froms, r.from()), append(taken, r.taken())
		r.fresh, r.dirty = false, false
	}
	b.write(`INSERT INTO @reservation (account, id, scopes, state, ended, due, admitted, expires, idle, late, swap, bound, actual, usage, links, corrections, allowance, taken)
		SELECT $1, * FROM unnest($2::bytea[], $3::text[], $4::text[], $5::boolean[], $6::bigint[], $7::bigint[], $8::bigint[], $9::boolean[], $10::boolean[],
			$11::bytea[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::bytea[], $18::text[])`,
		b.account.id, ids, scopes, states, ended, due, admitted, expires, idle, late, swaps, bounds, actuals, usage, links, corrections, froms, taken)
	b.reserved = b.reserved[:0]
}

func (b *books) queueTransformed() {
	if len(b.transformed) == 0 {
		return
	}
	n := len(b.transformed)
	ids := make([][]byte, 0, n)
	states, actuals, links := make([]string, 0, n), make([]string, 0, n), make([]string, 0, n)
	ended, late := make([]bool, 0, n), make([]bool, 0, n)
	due, expires := make([]int64, 0, n), make([]int64, 0, n)
	usage, corrections, taken := make([]*string, 0, n), make([]string, 0, n), make([]*string, 0, n)
	for _, r := range b.transformed {
		over, at := r.due(b.now)
		ids, states, ended, due, expires = append(ids, []byte(r.ID)), append(states, string(r.State)), append(ended, over), append(due, at), append(expires, r.Expires)
		late, actuals, usage = append(late, r.Late), append(actuals, codec.EncodeAmounts(r.Actual)), append(usage, r.usage())
		links, corrections, taken = append(links, codec.EncodeLinks(r.Links)), append(corrections, codec.EncodeCorrections(r.Corrections)), append(taken, r.taken())
		r.dirty = false
	}
	// The rows are locked, so they stay where they are.
	b.write(`WITH v AS MATERIALIZED (SELECT v.*, r.place
			FROM unnest($2::bytea[], $3::text[], $4::boolean[], $5::bigint[], $6::bigint[], $7::boolean[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[])
				AS v (id, state, ended, due, expires, late, actual, usage, links, corrections, taken)
			CROSS JOIN LATERAL (SELECT ctid AS place FROM @reservation WHERE account = $1 AND id = v.id OFFSET 0) r)
		UPDATE @reservation r
		SET state = v.state, ended = v.ended, due = v.due, expires = v.expires, late = v.late, actual = v.actual, usage = v.usage, links = v.links, corrections = v.corrections, taken = v.taken
		FROM v WHERE r.ctid = v.place`,
		b.account.id, ids, states, ended, due, expires, late, actuals, usage, links, corrections, taken)
	b.transformed = b.transformed[:0]
}

func (r *row) usage() *string {
	if !r.Said {
		return nil
	}
	text := codec.EncodeAmounts(r.Usage)
	return &text
}

func (b *books) queueCounts() {
	dirty := 0
	for _, c := range b.changed {
		if c.dirty {
			dirty++
		}
	}
	if dirty == 0 {
		return
	}
	var numbers [9][]int64
	buckets, dropped := make([]string, 0, dirty), make([]bool, 0, dirty)
	for _, c := range b.changed {
		if !c.dirty {
			continue
		}
		c.dirty = false
		for i, n := range [...]int64{c.ID, c.Settled, c.Held, c.Unconfirmed, c.Overrun, int64(c.Fired[0]), int64(c.Fired[1]), c.reservations} {
			numbers[i] = append(numbers[i], n)
		}
		buckets, dropped = append(buckets, codec.EncodeBuckets(c.Buckets)), append(dropped, c.dropped)
	}
	b.write(`WITH v AS MATERIALIZED (SELECT v.*, c.place
			FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::text[], $11::boolean[])
				AS v (id, settled, held, unconfirmed, overrun, fired_low, fired_high, reservations, buckets, dropped)
			CROSS JOIN LATERAL (SELECT ctid AS place FROM @count WHERE id = v.id OFFSET 0) c)
		UPDATE @count c
		SET settled = v.settled, held = v.held, unconfirmed = v.unconfirmed, overrun = v.overrun, fired_low = v.fired_low, fired_high = v.fired_high,
			reservations = v.reservations, buckets = v.buckets, dropped = v.dropped, touched = $1
		FROM v WHERE c.ctid = v.place`,
		b.now, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6], numbers[7], buckets, dropped)
}

// queueUnused deletes counts that were made for requests that were refused.
func (b *books) queueUnused() {
	var unused []int64
	for _, c := range b.byID {
		if c.fresh && c.reservations == 0 {
			c.gone = true
			unused = append(unused, c.ID)
		}
	}
	if len(unused) > 0 {
		b.write("DELETE FROM @count WHERE id = ANY($1)", unused)
	}
}

// queueClock keeps the time on the server, once a second: whoever is writing it already will do.
func (b *books) queueClock() {
	if b.now >= b.clock+int64(time.Second) {
		b.out.Queue(b.store.sql("UPDATE @account SET clock = $2 WHERE id = (SELECT id FROM @account WHERE id = $1 AND clock < $2 FOR UPDATE SKIP LOCKED)"), b.account.id, b.now)
	}
}

func keyOf(l *budget.Link) (countKey, error) {
	k := countKey{cap: l.Cap, start: codec.Nano(l.Window.Start)}
	if len(l.Scopes) == 0 || len(l.Scopes) > maxScopes {
		return k, fmt.Errorf("%w: a link of %d scopes: name 1 to %d", budget.ErrInvalid, len(l.Scopes), maxScopes)
	}
	copy(k.scopes[:], l.Scopes)
	return k, nil
}

func (k *countKey) digest(scopes string) []byte {
	return digest(k.cap, scopes, strconv.FormatInt(k.start, 10))
}
