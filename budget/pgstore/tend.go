package pgstore

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// forgetEach bounds the ended reservations that are forgotten after one batch.
	forgetEach = 256
	lookEach   = int64(time.Minute)
	tidyEach   = int64(5 * time.Minute)
)

// tending is when what nobody will ask for any more is forgotten: after a batch, by whoever has one.
type tending struct {
	ended  int64 // by this process, since it last looked how many are kept
	excess int64 // what is kept until then is more than Keep
	forget int64 // when the next is looked for
	tidy   int64
}

// inTurn is until when a reservation is kept that ends now. All of a month are kept until the same instant, and if that is more
// than Keep, those that ended first go first: so each is kept a little longer than must be, by its turn. A turn is a
// hundred-millionth of what is left, up to 32 s in a hundred years.
func inTurn(until, now int64) int64 { return until + int64(40*time.Second) - (until-now)/100_000_000 }

// tend forgets a little of what is old. What fails is tried again after a later batch.
func (s *Store) tend(conn *pgxpool.Conn, a *account) {
	if conn.Conn().IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	t := &a.tending
	if t.ended > s.keep/8 {
		err := conn.QueryRow(ctx, s.sql("SELECT due FROM @reservation WHERE account = $1 AND ended ORDER BY due DESC OFFSET $2 LIMIT 1"), a.id, s.keep).Scan(&t.excess)
		if err == nil || errors.Is(err, pgx.ErrNoRows) { // none: no excess
			t.ended = 0
		}
	}
	if a.last >= t.forget || t.excess > 0 {
		s.tendBy(ctx, conn, a, &task{forget: forgetEach, run: (*books).forgetRows})
	}
	if a.last >= t.tidy {
		s.tendBy(ctx, conn, a, &task{alone: true, run: (*books).tidy})
	}
}

func (s *Store) tendBy(ctx context.Context, conn *pgxpool.Conn, a *account, t *task) {
	if _, err := s.attempt(ctx, conn, a, []*task{t}); err != nil || t.err != nil {
		a.distrust(err)
		a.tending.forget, a.tending.tidy = a.last+lookEach, a.last+lookEach
	}
}

// forgetRows drops ended reservations whose time has come, or that are more than are kept.
func (b *books) forgetRows() error {
	t := &b.account.tending
	t.forget = min(b.nextOld, b.now+lookEach)
	if len(b.old) < forgetEach {
		t.excess = 0
	} else {
		t.forget = 0
	}
	var ids [][]byte
	var empty []int64
	for _, r := range b.old {
		if r.err != nil {
			continue
		}
		ids = append(ids, []byte(r.ID))
		for i := range r.Links {
			c := b.byID[r.Links[i].Count.ID]
			c.reservations--
			b.touchCount(c)
			if end := c.End(); c.reservations == 0 && (c.dropped || end > 0 && end <= b.now || c.Empty(b.now)) {
				empty = append(empty, c.ID)
			}
		}
	}
	if len(ids) > 0 {
		b.queueCounts()
		b.write(`DELETE FROM @reservation r USING (SELECT p.place FROM unnest($2::bytea[]) AS k (id)
			CROSS JOIN LATERAL (SELECT ctid AS place FROM @reservation WHERE account = $1 AND id = k.id OFFSET 0) p) v WHERE r.ctid = v.place`, b.account.id, ids)
	}
	if len(empty) > 0 {
		b.write("DELETE FROM @count WHERE id = ANY($1)", empty)
		for _, id := range empty {
			b.byID[id].gone = true
		}
	}
	return nil
}

// tidy drops what forgetting left: counts of windows that are over, of forgotten runs, and caps of those.
func (b *books) tidy() error {
	a := b.account
	a.tending.tidy = b.now + tidyEach
	b.write("SELECT set_config('enable_hashjoin', 'on', true)") // this is about many rows
	b.write("DELETE FROM @count WHERE account = $1 AND dropped AND reservations = 0", a.id)
	b.write("DELETE FROM @count WHERE account = $1 AND ends > 0 AND ends <= $2 AND reservations = 0", a.id, b.now)
	b.write("DELETE FROM @closed WHERE account = $1 AND until <= $2", a.id, b.now)
	if err := b.flush(); err != nil {
		return err
	}
	// Ledgers that have not heard of a cap's removal ask for everything.
	err := b.ask(func(rows pgx.Rows) error {
		var key string
		var version int64
		if err := rows.Scan(&key, &version); err != nil {
			return err
		}
		key, err := unreadable(key)
		delete(a.caps, key)
		b.floor, b.edited = max(b.floor, version), true
		return err
	}, "DELETE FROM @cap c WHERE account = $1 AND removed AND NOT EXISTS (SELECT FROM @count n WHERE n.account = $1 AND n.dropped AND n.cap = c.key) RETURNING key, version", a.id)
	return b.fail(err)
}
