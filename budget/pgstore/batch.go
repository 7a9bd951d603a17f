package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/gridloop/gridloop/budget/internal/group"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// errAgain is a batch that must be done anew: what it believed was not so. Nothing was done.
var errAgain = errors.New("pgstore: nothing was done: the rows keep changing: ask again")

const (
	tries = 8
	// idleTooLong is what a session ends with that stopped in mid-transaction.
	idleTooLong = "25P03"
)

// batch is one transaction: what take answers is applied and told only after the commit.
func (s *Store) batch(a *account, take func() []*group.Task[*task]) error {
	if a.forgot {
		return ErrForgot
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return named(err)
	}
	defer func() {
		if conn != nil {
			conn.Release()
		}
	}()
	taken := take()
	if len(taken) == 0 {
		return nil
	}
	tasks := make([]*task, len(taken))
	for i, t := range taken {
		tasks[i] = t.What
	}
	for try := 1; ; try++ {
		var known bool // the outcome
		known, err = s.attempt(ctx, conn, a, tasks)
		if err == nil {
			break
		}
		a.distrust(err)
		lost := conn.Conn().IsClosed()
		if !known || try == tries || ctx.Err() != nil || !lost && !passes(err) {
			break
		}
		if lost {
			conn.Release()
			if conn, err = s.pool.Acquire(ctx); err != nil {
				conn = nil
				break
			}
		}
		time.Sleep(rand.N(time.Duration(try) * time.Millisecond)) // whoever was in the way may go first
	}
	err = named(err)
	for _, t := range taken {
		if t.Err = err; err == nil {
			t.Err = t.What.err
		}
		t.Finish()
	}
	if err == nil {
		s.tend(conn, a)
	}
	return nil
}

// passes reports whether a batch of which nothing was done may be repeated.
func passes(err error) bool {
	switch code(err) {
	case "40P01", "40001", "23505": // deadlock, serialization, a row that somebody else made meanwhile
		return true
	}
	return errors.Is(err, errAgain)
}

// attempt applies tasks in one transaction. known is whether an error means that nothing was done.
func (s *Store) attempt(ctx context.Context, conn *pgxpool.Conn, a *account, tasks []*task) (known bool, err error) {
	b := &books{store: s, ctx: ctx, conn: conn.Conn(), account: a, rows: map[string]*row{}, counts: map[countKey]*count{}, byID: map[int64]*count{},
		closed: map[string]int64{}, found: map[countKey]int64{}, fresh: map[int64]bool{}}
	defer func() {
		if err == nil {
			return
		}
		b.rollback()
		if b.founded { // the account that is there later is another one, and nobody has forgotten this one
			a.id, a.epoch = 0, 0
		}
	}()
	if err := b.load(tasks); err != nil {
		return true, err
	}
	for _, t := range tasks {
		t.err = t.run(b)
		if b.broken != nil {
			return true, b.broken
		}
	}
	return b.commit()
}

// send runs the statements of out in one round trip. each is called with the answer of every statement, in order.
func (b *books) send(out *pgx.Batch, each ...func(rows pgx.Rows) error) (err error) {
	answers := b.conn.SendBatch(b.ctx, out)
	defer func() { err = errors.Join(err, answers.Close()) }()
	for i := range out.Len() {
		rows, err := answers.Query()
		if err != nil {
			return err
		}
		if i < len(each) && each[i] != nil {
			for err == nil && rows.Next() {
				err = each[i](rows)
			}
		}
		rows.Close()
		if err = errors.Join(err, rows.Err()); err != nil {
			return err
		}
	}
	return nil
}

// undone reports whether an error of the last round trip means that nothing was done.
func undone(err error) bool {
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code == idleTooLong {
		return true // the server had given up before it heard of the commit
	}
	return code(err) != "" || pgconn.SafeToRetry(err)
}

// ask is one statement inside the transaction.
func (b *books) ask(each func(rows pgx.Rows) error, query string, args ...any) error {
	var out pgx.Batch
	out.Queue(b.store.sql(query), args...)
	return b.send(&out, each)
}

// rollback ends a transaction that failed. The connection is closed if even that fails.
func (b *books) rollback() {
	if b.conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := b.conn.Exec(ctx, "ROLLBACK"); err != nil {
		_ = b.conn.Close(ctx)
	}
}

// commit writes what was changed and waits until it is on the disk.
func (b *books) commit() (known bool, err error) {
	out := &b.out
	b.queueWrites()
	b.queueUnused()
	if b.wrote {
		b.queueClock()
	}
	out.Queue("COMMIT")
	answers := b.conn.SendBatch(b.ctx, out)
	for range out.Len() - 1 {
		if _, err := answers.Exec(); err != nil {
			_ = answers.Close()
			return undone(err), err
		}
	}
	tag, err := answers.Exec()
	if err = errors.Join(err, answers.Close()); err != nil {
		return undone(err), err
	}
	if tag.String() != "COMMIT" {
		return true, fmt.Errorf("pgstore: the server answered COMMIT with %s", tag)
	}
	b.account.learnFrom(b)
	return true, nil
}
