package sqlitestore

import (
	"database/sql/driver"
	"fmt"
	"math"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/codec"
	"github.com/gridloop/gridloop/budget/internal/rules"
)

// books is the writing connection and what it knows of the file. Inside a transaction rows are loaded once, changed in
// memory by any number of operations, and written before the commit. Between transactions they are kept, as long as SQLite
// says that no other connection has written: one process alone reads next to nothing.
type books struct {
	store    *Store
	conn     *conn
	version  int64 // PRAGMA data_version when the transaction began
	now      int64
	clock    int64 // as it stands in the file
	wrote    bool  // something must be committed
	broken   error // the transaction cannot be committed
	nextID   int64 // of a count
	nextSeq  int64 // of a reservation
	accounts map[string]*account
	windows  map[string]budget.Window
}

// account is what is known of one account. A row that is in a map is as it stands in the file, or changed and listed among
// the dirty.
type account struct {
	id      int64
	name    string
	version int64
	floor   int64
	edits   int64
	ended   int64
	dirty   bool // the five above
	stale   bool // they may have changed in the file

	caps    map[string]*rules.Cap
	shared  int64 // version of the last change to a cap that any request may touch
	anchors map[budget.Scope]*anchor
	freezes map[budget.Scope]budget.Freeze
	closed  map[string]int64 // runs that were asked for: forgotten until, or 0

	counts map[countKey]*count
	byID   map[int64]*count
	rows   map[string]*row

	nextDue    int64 // no lease is over before
	nextForget int64 // no ended reservation is forgotten before
	nextOver   int64 // no window without reservations ends before

	changed     []*count
	reserved    []*row // to be inserted
	transformed []*row // to be updated
}

type anchor struct {
	version int64
	caps    map[string]bool
}

// count is a row of budget_count.
type count struct {
	rules.Count
	reservations int64
	run          string
	dropped      bool
	fresh, dirty bool
	gone         bool // deleted
}

// row is a row of budget_reservation.
type row struct {
	rules.Row
	seq   int64
	dirty bool
}

type countKey struct {
	cap    string
	scopes [maxScopes]budget.Scope
	start  int64
}

const (
	// maxScopes is how many kinds one cap may join.
	maxScopes = 3
	// maxCached bounds the rows kept between transactions.
	maxCached = 50_000
	never     = math.MaxInt64
)

func newBooks(c *conn, s *Store) *books {
	return &books{store: s, conn: c, version: -1, accounts: map[string]*account{}, windows: map[string]budget.Window{}}
}

// prepareFile sets what the guarantees rest on, and brings the schema up to date.
func (b *books) prepareFile() error {
	if err := b.conn.exec("PRAGMA busy_timeout = 0"); err != nil { // Store.begin waits
		return err
	}
	if err := b.conn.pragma("journal_mode", "WAL", "wal"); err != nil {
		return err
	}
	if err := b.conn.pragma("synchronous", "FULL", "2"); err != nil { // a commit is on the disk before it is told
		return err
	}
	if err := b.conn.pragma("cache_size", "-16000", "-16000"); err != nil {
		return err
	}
	return migrate(b.conn, migrations)
}

// begin takes the write lock, reads the clock and forgets what other connections have changed.
func (b *books) begin() error {
	if err := b.conn.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	b.wrote, b.broken = false, nil
	version, _, err := b.conn.number("PRAGMA data_version")
	if err != nil {
		return err
	}
	if version != b.version {
		for _, a := range b.accounts {
			a.forget()
		}
		if b.clock, err = readMeta(b.conn); err != nil {
			return err
		}
		if b.nextID, _, err = b.conn.number("SELECT max(id) FROM budget_count"); err != nil {
			return err
		}
		if b.nextSeq, _, err = b.conn.number("SELECT max(seq) FROM budget_reservation"); err != nil {
			return err
		}
		b.version = version
	}
	b.now = max(b.now, b.clock, b.store.clock().UnixNano())
	return nil
}

// readMeta is the file's clock. A later version of this package may have migrated the file meanwhile: its rules are not ours.
func readMeta(c *conn) (clock int64, err error) {
	schema := int64(0)
	err = c.query(func(r columns) error {
		schema, clock = r.int(0), r.int(1)
		return nil
	}, "SELECT schema, clock FROM budget_meta WHERE id = 1")
	if err == nil && schema != int64(len(migrations)) {
		err = &SchemaError{Have: int(schema), Want: len(migrations)}
	}
	return clock, err
}

// forget drops everything that another connection may have changed; open reads the account again, and the caps since then.
func (a *account) forget() {
	a.stale = true
	a.reset()
}

// reset drops rows, which are read again when they are needed.
func (a *account) reset() {
	a.closed = map[string]int64{}
	a.counts, a.byID, a.rows = map[countKey]*count{}, map[int64]*count{}, map[string]*row{}
	a.nextDue, a.nextForget, a.nextOver = 0, 0, 0
}

// commit writes what was changed and waits until it is on the disk.
func (b *books) commit() error {
	for _, a := range b.accounts {
		if err := b.flush(a); err != nil {
			return err
		}
		if a.dirty {
			b.wrote = true
			a.dirty = false
			if err := b.conn.exec("UPDATE budget_account SET version = ?, floor = ?, edits = ?, ended = ? WHERE id = ?", a.version, a.floor, a.edits, a.ended, a.id); err != nil {
				return err
			}
		}
	}
	if b.wrote {
		b.clock = b.now
		if err := b.conn.exec("UPDATE budget_meta SET clock = ? WHERE id = 1", b.now); err != nil {
			return err
		}
	}
	if err := b.conn.exec("COMMIT"); err != nil {
		return err
	}
	for _, a := range b.accounts {
		if len(a.rows)+len(a.byID)+len(a.closed) > maxCached {
			a.reset()
		}
	}
	return nil
}

// fail marks the transaction as one that cannot be committed: some of it is written and some is not.
func (b *books) fail(err error) error {
	if err != nil && b.broken == nil {
		b.broken = err
	}
	return err
}

// write is exec inside an operation that has begun to change things.
func (b *books) write(query string, args ...driver.Value) error {
	b.wrote = true
	return b.fail(b.conn.exec(query, args...))
}

// flush writes rows that were changed.
func (b *books) flush(a *account) error {
	if len(a.changed)+len(a.reserved)+len(a.transformed) == 0 {
		return nil
	}
	b.wrote = true
	for _, c := range a.changed {
		if err := b.saveCount(a, c); err != nil {
			return b.fail(err)
		}
	}
	for _, r := range a.reserved {
		if err := b.insert(a, r); err != nil {
			return b.fail(err)
		}
	}
	for _, r := range a.transformed {
		if err := b.update(r); err != nil {
			return b.fail(err)
		}
	}
	for _, rows := range [][]*row{a.reserved, a.transformed} {
		for _, r := range rows {
			if r.State != budget.StateOpen {
				delete(a.rows, r.ID) // seldom asked for again
			}
		}
	}
	clear(a.changed)
	clear(a.reserved)
	clear(a.transformed)
	a.changed, a.reserved, a.transformed = a.changed[:0], a.reserved[:0], a.transformed[:0]
	return nil
}

// open answers an account, made if it is new, with its caps and freezes as they stand.
func (b *books) open(name string) (*account, error) {
	a := b.accounts[name]
	if a != nil && !a.stale {
		return a, nil
	}
	var next account
	found := false
	err := b.conn.query(func(r columns) error {
		next.id, next.version, next.floor, next.edits, next.ended, found = r.int(0), r.int(1), r.int(2), r.int(3), r.int(4), true
		return nil
	}, "SELECT id, version, floor, edits, ended FROM budget_account WHERE name = ?", name)
	if err != nil {
		return nil, err
	}
	if !found {
		id, _, err := b.conn.number("SELECT max(id) FROM budget_account")
		if err != nil {
			return nil, err
		}
		next.id = id + 1
		if err := b.write("INSERT INTO budget_account (id, name, version, floor, edits, ended) VALUES (?, ?, 0, 0, 0, 0)", next.id, name); err != nil {
			return nil, err
		}
	}
	if a == nil {
		a = &account{name: name, edits: -1}
		a.reset()
		a.clearCaps()
	}
	if err := b.learn(a, &next); err != nil {
		return nil, err
	}
	a.id, a.version, a.floor, a.edits, a.ended, a.stale = next.id, next.version, next.floor, next.edits, next.ended, false
	b.accounts[name] = a
	return a, nil
}

// row answers a reservation, nil if there is none.
func (b *books) row(a *account, id string) (*row, error) {
	if r := a.rows[id]; r != nil {
		return r, nil
	}
	var found *row
	err := b.conn.query(func(c columns) (err error) {
		found, err = b.decodeRow(a, id, c)
		return err
	}, "SELECT seq, scopes, state, admitted, expires, idle, late, swap, bound, actual, usage, links, corrections, due, allowance, taken FROM budget_reservation WHERE account = ? AND id = ?", a.id, id)
	if err != nil || found == nil {
		return nil, err
	}
	a.rows[id] = found
	return found, nil
}

func (b *books) decodeRow(a *account, id string, c columns) (r *row, err error) {
	r = &row{seq: c.int(0)}
	r.ID, r.State, r.Admitted, r.Expires = id, budget.State(c.text(2)), c.int(3), c.int(4)
	r.Idle, r.Late, r.Swap = c.int(5) != 0, c.int(6) != 0, c.text(7)
	if r.Scopes, err = decodeScopes(c.text(1)); err != nil {
		return nil, err
	}
	if r.Bound, err = decodeAmounts(c.text(8)); err != nil {
		return nil, err
	}
	if r.Actual, err = decodeAmounts(c.text(9)); err != nil {
		return nil, err
	}
	if r.Said = !c.null(10); r.Said {
		if r.Usage, err = decodeAmounts(c.text(10)); err != nil {
			return nil, err
		}
	}
	if r.Corrections, err = decodeCorrections(c.text(12)); err != nil {
		return nil, err
	}
	if r.State != budget.StateOpen {
		r.KeepUntil = c.int(13)
	}
	r.From = c.text(14)
	if r.Taken, err = decodeAmounts(c.text(15)); err != nil {
		return nil, err
	}
	err = decodeLinks(c.text(11), func(id, over int64) error {
		counted, err := b.countByID(a, id)
		if err != nil {
			return err
		}
		r.Links = append(r.Links, rules.Link{Count: &counted.Count, Over: over})
		return nil
	})
	return r, err
}

// touch lists a reservation and its counts as changed.
func (a *account) touch(r *row) {
	if !r.dirty {
		r.dirty = true
		a.transformed = append(a.transformed, r)
	}
	a.nextDue = min(a.nextDue, r.Expires)
	for i := range r.Links {
		a.touchCount(a.byID[r.Links[i].Count.ID])
	}
}

// touchTurned lists a count as changed if time has taken something out of it.
func (a *account) touchTurned(c *count) {
	if !c.fresh && c.Turned() {
		a.touchCount(c)
	}
}

func (a *account) touchCount(c *count) {
	if !c.dirty {
		c.dirty = true
		a.changed = append(a.changed, c)
	}
}

func (r *row) due() (ended, due int64) {
	if r.State == budget.StateOpen {
		return 0, r.Expires
	}
	return 1, r.KeepUntil
}

func (b *books) insert(a *account, r *row) error {
	r.dirty = false
	ended, due := r.due()
	return b.conn.exec(`INSERT INTO budget_reservation
		(seq, account, id, scopes, state, ended, due, admitted, expires, idle, late, swap, bound, actual, usage, links, corrections, allowance, taken)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.seq, a.id, r.ID, codec.EncodeScopes(r.Scopes), string(r.State), ended, due, r.Admitted, r.Expires, flag(r.Idle), flag(r.Late), r.Swap,
		codec.EncodeAmounts(r.Bound), codec.EncodeAmounts(r.Actual), r.usage(), codec.EncodeLinks(r.Links), codec.EncodeCorrections(r.Corrections), orNull(r.From), r.taken())
}

func (b *books) update(r *row) error {
	r.dirty = false
	ended, due := r.due()
	return b.conn.exec(`UPDATE budget_reservation
		SET state = ?, ended = ?, due = ?, expires = ?, late = ?, actual = ?, usage = ?, links = ?, corrections = ?, taken = ? WHERE seq = ?`,
		string(r.State), ended, due, r.Expires, flag(r.Late), codec.EncodeAmounts(r.Actual), r.usage(), codec.EncodeLinks(r.Links), codec.EncodeCorrections(r.Corrections), r.taken(), r.seq)
}

func (r *row) usage() any {
	if !r.Said {
		return nil
	}
	return codec.EncodeAmounts(r.Usage)
}

const countColumns = "id, cap, scopes, starts, ends, run, settled, held, unconfirmed, overrun, fired_low, fired_high, reservations, dropped, buckets"

// countByID answers a count that a reservation refers to.
func (b *books) countByID(a *account, id int64) (*count, error) {
	if c := a.byID[id]; c != nil {
		return c, nil
	}
	c, err := b.readCount(a, "SELECT "+countColumns+" FROM budget_count WHERE id = ?", id)
	if err == nil && c == nil {
		err = damaged("count %d is not there", id)
	}
	return c, err
}

// countOf answers the count of a link, nil if it was never touched.
func (b *books) countOf(a *account, l *budget.Link) (*count, error) {
	key, err := keyOf(l)
	if err != nil {
		return nil, err
	}
	if c := a.counts[key]; c != nil {
		return c, nil
	}
	return b.readCount(a, "SELECT "+countColumns+" FROM budget_count WHERE account = ? AND cap = ? AND scopes = ? AND starts = ? AND dropped = 0",
		a.id, l.Cap, codec.EncodeScopes(l.Scopes), codec.Nano(l.Window.Start))
}

func (b *books) readCount(a *account, query string, args ...driver.Value) (*count, error) {
	var found *count
	err := b.conn.query(func(c columns) error {
		n := &count{run: c.text(5), reservations: c.int(12), dropped: c.int(13) != 0}
		scopes, err := decodeScopes(c.text(2))
		if err != nil {
			return err
		}
		book := a.caps[c.text(1)]
		if book == nil {
			return damaged("cap %.64q is not there", c.text(1))
		}
		n.Count = rules.Count{ID: c.int(0), Cap: book, Scopes: scopes, Span: budget.Span{Start: codec.FromNano(c.int(3)), End: codec.FromNano(c.int(4))},
			Settled: c.int(6), Held: c.int(7), Unconfirmed: c.int(8), Overrun: c.int(9), Fired: [2]uint64{uint64(c.int(10)), uint64(c.int(11))}}
		if n.Buckets, err = decodeBuckets(c, 14); err != nil {
			return err
		}
		found = n
		return nil
	}, query, args...)
	if err != nil || found == nil {
		return nil, err
	}
	return found, a.keep(found)
}

// keep puts a count into the maps.
func (a *account) keep(c *count) error {
	a.byID[c.ID] = c
	if c.dropped {
		return nil
	}
	key, err := keyOf(&budget.Link{Cap: c.Cap.Key, Scopes: c.Scopes, Window: c.Span})
	if err == nil {
		a.counts[key] = c
	}
	return err
}

func keyOf(l *budget.Link) (countKey, error) {
	k := countKey{cap: l.Cap, start: codec.Nano(l.Window.Start)}
	if len(l.Scopes) == 0 || len(l.Scopes) > maxScopes {
		return k, fmt.Errorf("%w: a link of %d scopes: name 1 to %d", budget.ErrInvalid, len(l.Scopes), maxScopes)
	}
	copy(k.scopes[:], l.Scopes)
	return k, nil
}

func (b *books) saveCount(a *account, c *count) error {
	fresh := c.fresh
	c.fresh, c.dirty = false, false
	if !fresh {
		return b.conn.exec(`UPDATE budget_count
			SET settled = ?, held = ?, unconfirmed = ?, overrun = ?, fired_low = ?, fired_high = ?, reservations = ?, dropped = ?, buckets = ? WHERE id = ?`,
			c.Settled, c.Held, c.Unconfirmed, c.Overrun, int64(c.Fired[0]), int64(c.Fired[1]), c.reservations, flag(c.dropped), encodeBuckets(c.Buckets), c.ID)
	}
	return b.conn.exec("INSERT INTO budget_count (account, "+countColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		a.id, c.ID, c.Cap.Key, codec.EncodeScopes(c.Scopes), codec.Nano(c.Span.Start), codec.Nano(c.Span.End), orNull(c.run), c.Settled, c.Held, c.Unconfirmed, c.Overrun,
		int64(c.Fired[0]), int64(c.Fired[1]), c.reservations, flag(c.dropped), encodeBuckets(c.Buckets))
}

func (b *books) at() time.Time { return rules.At(b.now) }
