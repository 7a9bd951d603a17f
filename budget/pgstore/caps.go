package pgstore

import (
	"context"
	"fmt"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/codec"
	"github.com/gridloop/gridloop/budget/internal/group"
	"github.com/gridloop/gridloop/budget/internal/rules"
	"github.com/jackc/pgx/v5"
)

const (
	// keptChanges is how many changes each account remembers.
	keptChanges = 10_000
	capColumns  = "key, target, per, most, soft, version, author, at, removed, meter"
)

// capOf is a cap in force.
func (a *account) capOf(key string) *rules.Cap {
	if c := a.caps[key]; c != nil && !c.Removed {
		return c
	}
	return nil
}

// learn reads caps and freezes that changed since the account was last looked at. Nobody changes them meanwhile.
func (b *books) learn(head *accountRow) error {
	a := b.account
	var out pgx.Batch
	var answers []func(pgx.Rows) error
	if head.version != a.version {
		if a.version < head.floor {
			edits, freezes := a.edits, a.freezes
			a.clearCaps()
			a.edits, a.freezes = edits, freezes
		}
		out.Queue(b.store.sql("SELECT "+capColumns+" FROM @cap WHERE account = $1 AND version > $2"), a.id, a.version)
		answers = append(answers, func(rows pgx.Rows) error {
			r, err := b.store.scanCap(rows)
			if err == nil {
				a.put(*r)
			}
			return err
		})
	}
	if head.edits != a.edits {
		a.freezes = map[budget.Scope]budget.Freeze{}
		out.Queue(b.store.sql(selectFreezes), a.id)
		answers = append(answers, func(rows pgx.Rows) error {
			f, err := scanFreeze(rows)
			a.freezes[f.Scope] = f
			return err
		})
	}
	if out.Len() == 0 {
		return nil
	}
	if err := b.send(&out, answers...); err != nil {
		return err
	}
	a.version, a.edits = head.version, head.edits
	return nil
}

// put takes a cap over. Counts keep pointing to the same one.
func (a *account) put(r budget.CapRecord) {
	c := a.caps[r.Key]
	if c == nil {
		c = &rules.Cap{}
		a.caps[r.Key] = c
	}
	*c = *rules.NewCap(r)
	scope, anchored := r.For.Anchor()
	own := a.anchors[scope]
	switch {
	case !anchored:
		a.shared = max(a.shared, r.Version)
	case r.Removed:
		if own != nil {
			delete(own.caps, r.Key)
			if len(own.caps) == 0 {
				delete(a.anchors, scope)
			}
		}
	default:
		if own == nil {
			own = &anchor{caps: map[string]bool{}}
			a.anchors[scope] = own
		}
		own.caps[r.Key] = true
		own.version = max(own.version, r.Version)
	}
}

// scanCap reads the columns of a cap, and others before them. It is nil where a join found none.
func (s *Store) scanCap(rows pgx.Rows, before ...any) (*budget.CapRecord, error) {
	var key, target, per, soft, by, meter *string
	var limit, version, at *int64
	var removed *bool
	if err := rows.Scan(append(before, &key, &target, &per, &limit, &soft, &version, &by, &at, &removed, &meter)...); err != nil || key == nil {
		return nil, err
	}
	r := &budget.CapRecord{Key: *key, Version: *version, By: *by, At: rules.At(*at), Removed: *removed}
	r.Limit = *limit
	var err error
	for _, text := range []*string{&r.Key, &r.By, meter} {
		if *text, err = unreadable(*text); err != nil {
			return nil, err
		}
	}
	r.Meter = budget.Meter(*meter)
	if r.For, err = budget.ParseTarget(*target); err != nil {
		return nil, damaged("%v", err)
	}
	// Zones are slow to load, so windows are kept.
	if known, ok := s.windows.Load(*per); ok {
		r.Per = known.(budget.Window)
	} else {
		if r.Per, err = budget.ParseWindow(*per); err != nil {
			return nil, fmt.Errorf("pgstore: cap %q: %w", r.Key, err) // a machine without zone files
		}
		s.windows.Store(*per, r.Per)
	}
	r.Soft, err = decodeSoft(soft)
	return r, err
}

// Define implements [budget.Store].
func (s *Store) Define(ctx context.Context, account, by string, caps []budget.Cap) (version int64, err error) {
	err = s.do(ctx, account, &task{rank: group.Reserving, alone: true, run: func(b *books) error {
		version = b.account.version
		for _, c := range caps {
			if anchor, ok := c.For.Anchor(); ok {
				if err := b.refuseClosedNow(anchor); err != nil {
					return err
				}
			}
		}
		for _, c := range caps {
			b.define(by, c)
		}
		version = b.account.version
		return nil
	}})
	return version, err
}

func (b *books) define(by string, c budget.Cap) {
	a, key := b.account, c.ID()
	old := a.capOf(key)
	if old != nil && old.Same(c) {
		return
	}
	a.version++
	b.edited = true
	change := budget.Change{Version: a.version, At: b.at(), By: by, What: "define", Cap: key, New: c.Limit}
	anchor, anchored := c.For.Anchor()
	private := anchored && anchor.Kind == budget.ScopeRun
	if old != nil {
		change.Old, private = old.Limit, false
	}
	b.write(`INSERT INTO @cap (account, digest, key, target, meter, per, most, soft, version, author, at, removed)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, false)
		ON CONFLICT (account, digest) DO UPDATE SET most = excluded.most, soft = excluded.soft, version = excluded.version, author = excluded.author, at = excluded.at, removed = false`,
		a.id, digest(key), readable(key), c.For.String(), readable(string(c.Meter)), c.Per.String(), c.Limit, encodeSoft(c.Soft), a.version, readable(by), b.now)
	c.Soft = append(c.Soft[:0:0], c.Soft...)
	a.put(budget.CapRecord{Cap: c, Version: a.version, By: by, At: b.at(), Key: key})
	if !private { // every run may bring its own caps; only what somebody changed is worth keeping
		b.note(change)
	}
}

// note keeps a change and forgets the oldest.
func (b *books) note(c budget.Change) {
	scope := ""
	if c.Scope.Kind != "" {
		scope = c.Scope.String()
	}
	b.write(`INSERT INTO @change (account, version, at, author, what, cap, before, after, scope, reason, until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		b.account.id, c.Version, codec.Nano(c.At), readable(c.By), c.What, readable(c.Cap), c.Old, c.New, scope, readable(c.Reason), untilOf(c.Until))
	b.write("DELETE FROM @change WHERE account = $1 AND seq <= (SELECT seq FROM @change WHERE account = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2)",
		b.account.id, keptChanges)
}

// Freeze implements [budget.Store].
func (s *Store) Freeze(ctx context.Context, account string, f budget.Freeze) error {
	return s.do(ctx, account, &task{rank: group.Settling, alone: true, run: func(b *books) error {
		f := f
		f.At = b.at()
		b.write(`INSERT INTO @freeze (account, digest, scope, reason, until, author, at) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (account, digest) DO UPDATE SET reason = excluded.reason, until = excluded.until, author = excluded.author, at = excluded.at`,
			b.account.id, digest(f.Scope.String()), f.Scope.String(), readable(f.Reason), untilOf(f.Until), readable(f.By), b.now)
		b.account.freezes[f.Scope] = f
		b.edit(budget.Change{At: f.At, By: f.By, What: "freeze", Scope: f.Scope, Reason: f.Reason, Until: f.Until})
		return nil
	}})
}

// Unfreeze implements [budget.Store].
func (s *Store) Unfreeze(ctx context.Context, account string, scope budget.Scope, by string) error {
	return s.do(ctx, account, &task{rank: group.Reserving, alone: true, run: func(b *books) error {
		if f, ok := b.account.freezes[scope]; !ok || rules.FreezeOver(f, b.at()) {
			return nil
		}
		b.unfreeze(scope)
		b.edit(budget.Change{At: b.at(), By: by, What: "unfreeze", Scope: scope})
		return nil
	}})
}

func (b *books) unfreeze(scope budget.Scope) {
	b.write("DELETE FROM @freeze WHERE account = $1 AND digest = $2", b.account.id, digest(scope.String()))
	delete(b.account.freezes, scope)
}

// edit makes other processes read the freezes again, and keeps the change.
func (b *books) edit(c budget.Change) {
	b.account.edits++
	b.edited = true
	c.Version = b.account.version
	b.note(c)
}

// refuseClosed is an error for a run that was forgotten. The runs of reservations are known.
func (b *books) refuseClosed(scope budget.Scope) error {
	if scope.Kind == budget.ScopeRun && b.now < b.closed[scope.Name] {
		return fmt.Errorf("%w: %s was forgotten: begin another run", budget.ErrClosed, scope)
	}
	return nil
}

// refuseClosedNow asks, if nobody has.
func (b *books) refuseClosedNow(scope budget.Scope) error {
	if _, known := b.closed[scope.Name]; !known && scope.Kind == budget.ScopeRun {
		var until int64
		err := b.ask(func(rows pgx.Rows) error { return rows.Scan(&until) }, "SELECT until FROM @closed WHERE account = $1 AND run = $2", b.account.id, []byte(scope.Name))
		if err != nil {
			return b.fail(err)
		}
		b.closed[scope.Name] = until
	}
	return b.refuseClosed(scope)
}
