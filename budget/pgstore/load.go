package pgstore

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/codec"
	"github.com/gridloop/gridloop/budget/internal/rules"
	"github.com/jackc/pgx/v5"
)

// Every transaction takes its locks in the same order, so that no two wait for each other:
//
//	the account, shared or alone -> reservations by id -> new counts by key -> counts by id
//
// Batches share the account; what they read of it (caps, freezes, forgotten runs) is changed by nobody but tasks that are
// alone in it. The lock manager keeps the order of arrival, so a freeze does not wait for ever. The locks on counts come
// last, because the busiest row of all, that of the account's own cap, is among them.
const (
	// A lock that is not had in time is an error, and a client that stopped in mid-transaction loses its locks. A commit is
	// answered when it is on the disk, whatever the default is; stricter settings stay. All access is by key, and LATERAL
	// leaves no other way: a plan made while the tables were small must not read all of them when they have grown. It also
	// takes the locks in the order of the array.
	settings = `SELECT set_config('lock_timeout', $2, true), set_config('idle_in_transaction_session_timeout', '2s', true),
		CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END,
		set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
		set_config('plan_cache_mode', 'force_generic_plan', true), `
	lockShared = settings + "pg_advisory_xact_lock_shared($1)"
	lockAlone  = settings + "pg_advisory_xact_lock($1)"

	selectAccount = `SELECT m.schema, coalesce(a.id, 0), coalesce(a.epoch, 0), coalesce(a.version, 0), coalesce(a.floor, 0), coalesce(a.edits, 0), coalesce(a.clock, 0)
		FROM @meta m LEFT JOIN @account a ON a.name = $1 WHERE m.id = 1`
	// nowIs is the server's clock. $1 is NULL, or what a test says instead.
	nowIs = "coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint)"

	rowColumns  = "id, scopes, state, due, admitted, expires, idle, late, swap, bound, actual, usage, links, corrections, allowance, taken"
	selectRows  = "SELECT r.* FROM unnest($2::bytea[]) AS k (key) CROSS JOIN LATERAL (SELECT " + rowColumns + " FROM @reservation WHERE account = $1 AND id = k.key FOR UPDATE) r"
	selectDue   = "SELECT " + rowColumns + " FROM @reservation WHERE account = $2 AND NOT ended AND due <= (SELECT greatest(" + nowIs + ", $3)) ORDER BY due LIMIT $4 FOR UPDATE SKIP LOCKED"
	selectOld   = "SELECT " + rowColumns + " FROM @reservation WHERE account = $2 AND ended AND due <= (SELECT greatest(" + nowIs + ", $3)) ORDER BY due LIMIT $4 FOR UPDATE SKIP LOCKED"
	selectYoung = "SELECT due FROM @reservation WHERE account = $2 AND ended AND due > (SELECT greatest(" + nowIs + ", $3)) ORDER BY due LIMIT 1"
	selectGone  = "SELECT c.* FROM unnest($2::bytea[]) AS k (key) CROSS JOIN LATERAL (SELECT run, until FROM @closed WHERE account = $1 AND run = k.key OFFSET 0) c"
	insertCount = `INSERT INTO @count (account, digest, cap, scopes, starts, ends, run, settled, held, unconfirmed, overrun, fired_low, fired_high, buckets, reservations, dropped, touched)
		SELECT $1, v.digest, v.cap, v.scopes, v.starts, v.ends, v.run, 0, 0, 0, 0, 0, 0, '', 0, false, 0
		FROM unnest($2::bytea[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bytea[]) AS v (digest, cap, scopes, starts, ends, run)
		ORDER BY v.digest
		ON CONFLICT (account, digest) WHERE NOT dropped DO NOTHING RETURNING id`
	selectIDs    = "SELECT c.* FROM unnest($2::bytea[]) AS k (key) CROSS JOIN LATERAL (SELECT id, digest FROM @count WHERE account = $1 AND digest = k.key AND NOT dropped OFFSET 0) c"
	countColumns = "id, cap, scopes, starts, ends, run, settled, held, unconfirmed, overrun, fired_low, fired_high, buckets, reservations, dropped, touched"
	selectCounts = "SELECT c.* FROM unnest($1::bigint[]) AS k (key) CROSS JOIN LATERAL (SELECT " + countColumns + " FROM @count WHERE id = k.key FOR UPDATE) c"
)

// load begins the transaction and locks what the tasks need.
func (b *books) load(tasks []*task) error {
	a := b.account
	want := b.wants(tasks)
	lock := lockShared
	if b.alone {
		lock = lockAlone
	}
	var out pgx.Batch
	out.Queue("BEGIN")
	out.Queue(lock, b.store.lockKey("account", a.name), fmt.Sprintf("%dms", b.store.timeout.Milliseconds()))
	out.Queue(b.store.sql(selectAccount), readable(a.name))
	var head accountRow
	answers := []func(pgx.Rows) error{nil, nil, head.scan}
	if a.id != 0 {
		answers = append(answers, b.queueLoads(&out, want)...)
	}
	if err := b.send(&out, answers...); err != nil {
		return err
	}
	if head.schema != len(migrations) {
		return &SchemaError{Have: head.schema, Want: len(migrations)}
	}
	if a.id != 0 && (head.id != a.id || head.epoch != a.epoch || head.version < a.highest) {
		return ErrForgot
	}
	if a.id == 0 {
		if err := b.begin(&head, want); err != nil {
			return err
		}
	}
	b.clock, b.floor = head.clock, head.floor
	if err := b.learn(&head); err != nil {
		return err
	}
	if b.lacks(want) {
		return errAgain
	}
	return b.lockCounts(want)
}

// accountRow is what every batch reads of its account.
type accountRow struct {
	schema                                  int
	id, epoch, version, floor, edits, clock int64
}

func (r *accountRow) scan(rows pgx.Rows) error {
	return rows.Scan(&r.schema, &r.id, &r.epoch, &r.version, &r.floor, &r.edits, &r.clock)
}

// begin is the first batch of an account in this process, or in the database.
func (b *books) begin(head *accountRow, want *wanted) error {
	a := b.account
	if head.id == 0 {
		err := b.ask(nil, "INSERT INTO @account (name, epoch, version, floor, edits, clock) VALUES ($1, $2, 0, 0, 0, 0) ON CONFLICT DO NOTHING",
			readable(a.name), rand.Int64())
		if err != nil {
			return err
		}
		b.wrote, b.founded = true, true
		if err := b.ask(head.scan, selectAccount, readable(a.name)); err != nil {
			return err
		}
	}
	a.id, a.epoch = head.id, head.epoch
	var out pgx.Batch
	answers := b.queueLoads(&out, want)
	if out.Len() == 0 {
		return nil
	}
	return b.send(&out, answers...)
}

// wanted is what a batch will need.
type wanted struct {
	ids    []string
	ends   []string // of ids: may end
	runs   [][]byte
	links  map[countKey]*budget.Link
	create map[countKey]bool // of links: may be new
	sweep  int
	forget int
}

func (b *books) wants(tasks []*task) *wanted {
	w := &wanted{links: map[countKey]*budget.Link{}, create: map[countKey]bool{}}
	ids, runs := map[string]bool{}, map[string]bool{}
	for id := range b.account.lacked {
		ids[id] = true
	}
	for _, t := range tasks {
		b.alone = b.alone || t.alone
		w.sweep += t.sweep
		w.forget += t.forget
		end := t.id
		if t.op != nil {
			end = t.op.Swap
		}
		if end != "" {
			w.ends = append(w.ends, end)
			ids[end] = true
			if from := b.account.drawn[end]; from != "" {
				ids[from] = true
			}
		}
		if t.op == nil {
			continue
		}
		ids[t.op.ID] = true
		if t.op.From != "" {
			ids[t.op.From] = true
		}
		for _, scope := range t.op.Scopes {
			if scope.Kind == budget.ScopeRun {
				runs[scope.Name] = true
			}
		}
		for i := range t.op.Links {
			if key, err := keyOf(&t.op.Links[i]); err == nil {
				w.links[key] = &t.op.Links[i]
				w.create[key] = w.create[key] || !t.op.DryRun
			}
		}
	}
	w.ids = slices.Sorted(maps.Keys(ids))
	for run := range runs {
		w.runs = append(w.runs, []byte(run))
	}
	return w
}

// queueLoads queues everything that must be had before counts are locked.
func (b *books) queueLoads(out *pgx.Batch, w *wanted) (answers []func(pgx.Rows) error) {
	a := b.account
	if len(w.ids) > 0 {
		ids := make([][]byte, len(w.ids))
		for i, id := range w.ids {
			ids[i] = []byte(id)
			b.rows[id] = nil
		}
		out.Queue(b.store.sql(selectRows), a.id, ids)
		answers = append(answers, b.readRow(nil))
	}
	if w.sweep > 0 {
		out.Queue(b.store.sql(selectDue), b.store.said(), a.id, a.last, w.sweep)
		answers = append(answers, b.readRow(func(r *row) { b.due = append(b.due, r) }))
	}
	if b.nextOld = never; w.forget > 0 {
		said, until := b.store.said(), max(a.last, a.tending.excess)
		out.Queue(b.store.sql(selectOld), said, a.id, until, w.forget)
		out.Queue(b.store.sql(selectYoung), said, a.id, until)
		answers = append(answers, b.readRow(func(r *row) { b.old = append(b.old, r) }), func(rows pgx.Rows) error { return rows.Scan(&b.nextOld) })
	}
	if len(w.runs) > 0 {
		out.Queue(b.store.sql(selectGone), a.id, w.runs)
		answers = append(answers, func(rows pgx.Rows) error {
			var run []byte
			var until int64
			err := rows.Scan(&run, &until)
			b.closed[string(run)] = until
			return err
		})
	}
	unknown, keys := [][]byte{}, map[string]countKey{}
	var fresh newCounts
	for key, l := range w.links {
		if _, known := a.ids[key]; known {
			continue
		}
		scopes := codec.EncodeScopes(l.Scopes)
		d := key.digest(scopes)
		unknown, keys[string(d)] = append(unknown, d), key
		if w.create[key] && a.capOf(l.Cap) != nil {
			fresh.add(d, l, scopes)
		}
	}
	if len(fresh.digests) > 0 {
		out.Queue(b.store.sql(insertCount), a.id, fresh.digests, fresh.caps, fresh.scopes, fresh.starts, fresh.ends, fresh.runs)
		b.wrote = true
		answers = append(answers, b.readFresh)
	}
	if len(unknown) > 0 {
		out.Queue(b.store.sql(selectIDs), a.id, unknown)
		answers = append(answers, func(rows pgx.Rows) error {
			var id int64
			var d []byte
			err := rows.Scan(&id, &d)
			b.found[keys[string(d)]] = id
			return err
		})
	}
	return answers
}

// newCounts are counts that may have to be made.
type newCounts struct {
	digests, runs [][]byte
	caps, scopes  []string
	starts, ends  []int64
}

func (c *newCounts) add(d []byte, l *budget.Link, scopes string) {
	var run []byte
	for _, scope := range l.Scopes {
		if scope.Kind == budget.ScopeRun {
			run = []byte(scope.Name)
		}
	}
	c.digests, c.runs, c.caps, c.scopes = append(c.digests, d), append(c.runs, run), append(c.caps, readable(l.Cap)), append(c.scopes, scopes)
	c.starts, c.ends = append(c.starts, codec.Nano(l.Window.Start)), append(c.ends, codec.Nano(l.Window.End))
}

func (b *books) readFresh(rows pgx.Rows) error {
	var id int64
	err := rows.Scan(&id)
	b.fresh[id] = true
	return err
}

// readRow reads a reservation that is not in the books yet, without its links.
func (b *books) readRow(also func(*row)) func(pgx.Rows) error {
	return func(rows pgx.Rows) (err error) {
		var id, swap, from []byte
		var scopes, state, bound, actual, corrections string
		var usage, taken *string
		var due int64
		r := &row{}
		if err := rows.Scan(&id, &scopes, &state, &due, &r.Admitted, &r.Expires, &r.Idle, &r.Late, &swap, &bound, &actual, &usage, &r.links, &corrections, &from, &taken); err != nil {
			return err
		}
		if known := b.rows[string(id)]; known != nil {
			r = known
		} else {
			r.ID, r.State, r.Swap, r.From = string(id), budget.State(state), string(swap), string(from)
			if r.State != budget.StateOpen {
				r.KeepUntil, r.kept = due, due
			}
			r.err = r.decode(scopes, bound, actual, usage, corrections, taken)
			b.rows[r.ID] = r
		}
		if also != nil {
			also(r)
		}
		return nil
	}
}

func (r *row) decode(scopes, bound, actual string, usage *string, corrections string, taken *string) (err error) {
	if r.Scopes, err = decodeScopes(scopes); err != nil {
		return err
	}
	if r.Bound, err = decodeAmounts(bound); err != nil {
		return err
	}
	if r.Actual, err = decodeAmounts(actual); err != nil {
		return err
	}
	if r.Said = usage != nil; r.Said {
		if r.Usage, err = decodeAmounts(*usage); err != nil {
			return err
		}
	}
	if taken != nil {
		if r.Taken, err = decodeAmounts(*taken); err != nil {
			return err
		}
	}
	r.Corrections, err = decodeCorrections(corrections)
	return err
}

// lockCounts locks the counts of reservations and requests, and reads the clock when it has them: later than anybody who
// had them before.
func (b *books) lockCounts(w *wanted) error {
	a := b.account
	ids := map[int64]bool{}
	for _, r := range b.rows {
		if r == nil || r.err != nil {
			continue
		}
		r.err = decodeLinks(r.links, func(id, _ int64) error {
			ids[id] = true
			return nil
		})
	}
	for key := range w.links {
		if id := a.ids[key]; id != 0 {
			b.found[key] = id
		}
	}
	for _, id := range b.found {
		ids[id] = true
	}
	var out pgx.Batch
	var answers []func(pgx.Rows) error
	if len(ids) > 0 {
		out.Queue(b.store.sql(selectCounts), slices.Sorted(maps.Keys(ids)))
		answers = append(answers, b.readCount)
	}
	out.Queue("SELECT "+nowIs, b.store.said())
	now := int64(0)
	answers = append(answers, func(rows pgx.Rows) error { return rows.Scan(&now) })
	if err := b.send(&out, answers...); err != nil {
		return err
	}
	b.now = max(b.now, now, b.clock, a.last)
	for _, id := range b.found {
		if c := b.byID[id]; c == nil || c.dropped {
			return errAgain // it was deleted since; the next attempt does not trust the ids
		}
	}
	for _, r := range b.rows {
		if r != nil && r.err == nil {
			r.err = b.attach(r)
		}
	}
	return nil
}

// attach leads a reservation's links to their counts.
func (b *books) attach(r *row) error {
	return decodeLinks(r.links, func(id, over int64) error {
		c := b.byID[id]
		switch {
		case c == nil:
			return damaged("count %d is not there", id)
		case c.err != nil:
			return c.err
		}
		r.Links = append(r.Links, rules.Link{Count: &c.Count, Over: over})
		return nil
	})
}

func (b *books) readCount(rows pgx.Rows) error {
	c := &count{}
	var key, scopes, buckets string
	var starts, ends, low, high, touched int64
	var run []byte
	err := rows.Scan(&c.ID, &key, &scopes, &starts, &ends, &run, &c.Settled, &c.Held, &c.Unconfirmed, &c.Overrun, &low, &high, &buckets, &c.reservations, &c.dropped, &touched)
	if err != nil {
		return err
	}
	if touched < b.account.seen[c.ID] {
		return ErrForgot
	}
	c.Span, c.Fired, c.run, c.fresh = budget.Span{Start: codec.FromNano(starts), End: codec.FromNano(ends)}, [2]uint64{uint64(low), uint64(high)}, string(run), b.fresh[c.ID]
	b.now = max(b.now, touched)
	b.byID[c.ID] = c
	if c.err = b.decodeCount(c, key, scopes, buckets); c.err != nil || c.dropped {
		return nil
	}
	return b.keep(c)
}

func (b *books) decodeCount(c *count, key, scopes, buckets string) (err error) {
	if key, err = unreadable(key); err != nil {
		return err
	}
	if c.Cap = b.account.caps[key]; c.Cap == nil {
		return damaged("cap %.64q is not there", key)
	}
	if c.Scopes, err = decodeScopes(scopes); err != nil {
		return err
	}
	c.Buckets, err = decodeBuckets(buckets)
	return err
}

// keep makes a count the one of its key.
func (b *books) keep(c *count) error {
	key, err := keyOf(&budget.Link{Cap: c.Cap.Key, Scopes: c.Scopes, Window: c.Span})
	if err == nil {
		b.counts[key] = c
	}
	return err
}

// row answers a reservation, nil if there is none. The tasks said which they need.
func (b *books) row(id string) (*row, error) {
	r, loaded := b.rows[id]
	if !loaded {
		return nil, fmt.Errorf("pgstore: %.64q was not loaded", strings.ToValidUTF8(id, ""))
	}
	if r != nil && r.err != nil {
		return nil, r.err
	}
	return r, nil
}

// countOf answers the count of a link, nil if it was never touched.
func (b *books) countOf(l *budget.Link) (*count, error) {
	key, err := keyOf(l)
	if err != nil {
		return nil, err
	}
	if c := b.byID[b.found[key]]; c != nil && c.err != nil {
		return nil, c.err
	}
	return b.counts[key], nil
}

// create makes a count that was not expected, because its cap was learnt only now.
func (b *books) create(l *budget.Link) (*count, error) {
	var fresh newCounts
	scopes := codec.EncodeScopes(l.Scopes)
	key, err := keyOf(l)
	if err != nil {
		return nil, err
	}
	fresh.add(key.digest(scopes), l, scopes)
	c := &count{fresh: true, run: string(fresh.runs[0]),
		Count: rules.Count{Cap: b.account.capOf(l.Cap), Scopes: slices.Clone(l.Scopes), Span: l.Window}}
	err = b.ask(func(rows pgx.Rows) error { return rows.Scan(&c.ID) }, insertCount,
		b.account.id, fresh.digests, fresh.caps, fresh.scopes, fresh.starts, fresh.ends, fresh.runs)
	switch {
	case err != nil:
		return nil, b.fail(err)
	case c.ID == 0:
		return nil, b.fail(errAgain) // another process has made it; the next attempt finds it
	}
	b.wrote = true
	b.byID[c.ID] = c
	return c, b.keep(c)
}
