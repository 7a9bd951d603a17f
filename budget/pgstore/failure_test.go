package pgstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/jackc/pgx/v5/pgxpool"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ledger(t testing.TB, s budget.Store, caps ...budget.Cap) *budget.Ledger {
	t.Helper()
	l, err := budget.Open(t.Context(), budget.Config{Store: s, Caps: caps})
	must(t, err)
	return l
}

func money(id string, nano int64) budget.Request {
	return budget.Request{ID: id, Amounts: budget.Amounts{NanoUSD: nano}}
}

func closing(t testing.TB, s *Store) *Store {
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// exec changes the tables behind the store's back.
func (s *Store) exec(t testing.TB, statement string, args ...any) {
	t.Helper()
	_, err := startServer(t).pool(t).Exec(context.Background(), s.sql(statement), args...)
	must(t, err)
}

func (s *Store) number(t testing.TB, query string) (n int64) {
	t.Helper()
	must(t, startServer(t).pool(t).QueryRow(context.Background(), s.sql(query)).Scan(&n))
	return n
}

// Chains that share counts in every order, from several processes' worth of stores, never wait for each other in a circle.
func TestShuffledChainsNeverDeadlock(t *testing.T) {
	const stores, callers, calls = 4, 6, 20
	schema := schemaName()
	kinds := []string{"tenant", "user", "run", "instrument", "tool"}
	var caps []budget.Cap
	for _, kind := range kinds {
		caps = append(caps, budget.Cap{For: budget.Each(kind), Meter: budget.MeterMoney, Limit: 1 << 40, Per: budget.Lifetime()})
	}
	before := startServer(t).deadlocks(t)
	var wg sync.WaitGroup
	var settled atomic.Int64
	var reader *budget.Ledger
	for i := range stores {
		s := closing(t, At(startServer(t).dsn(), Schema(schema)))
		l := ledger(t, s, caps...)
		reader = l
		for caller := range callers {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(i), uint64(caller)))
				var open []string
				for n := range calls {
					id := fmt.Sprintf("%d/%d", rnd.Uint64(), n) // in no order
					r := money(id, 10)
					if len(open) > 0 && rnd.IntN(4) == 0 {
						r.Swap = open[0]
						open = open[1:]
					}
					r.Idle, r.Lease = rnd.IntN(4) == 0, time.Duration(1+rnd.IntN(50))*time.Millisecond
					for _, k := range rnd.Perm(len(kinds)) {
						r.Scopes = append(r.Scopes, budget.Scope{Kind: kinds[k], Name: fmt.Sprint(rnd.IntN(3))})
					}
					_, err := l.Reserve(t.Context(), r)
					if errors.Is(err, budget.ErrUnknownReservation) {
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					if r.Idle {
						open = append(open, id)
						continue
					}
					if _, err := l.Settle(t.Context(), id, budget.Amounts{NanoUSD: 7}); err != nil {
						t.Error(err)
						return
					}
					settled.Add(7)
				}
			})
		}
	}
	wg.Wait()
	time.Sleep(100 * time.Millisecond)
	for {
		swept, err := reader.Sweep(t.Context(), 1000)
		must(t, err)
		if len(swept.Expired) == 0 {
			break
		}
	}
	for _, kind := range kinds {
		sum := int64(0)
		for name := range 3 {
			states, err := reader.Snapshot(t.Context(), budget.Scope{Kind: kind, Name: fmt.Sprint(name)})
			must(t, err)
			sum += states[0].Settled
			if states[0].Held != 0 {
				t.Errorf("%s %d still holds %d", kind, name, states[0].Held)
			}
		}
		if sum != settled.Load() {
			t.Errorf("each %s: %d settled, want %d", kind, sum, settled.Load())
		}
	}
	if after := startServer(t).deadlocks(t); after != before {
		t.Errorf("%d deadlocks", after-before)
	}
}

// Processes that say the same of the same reservations, as after a restart, do so without a deadlock, and it counts once.
func TestSameReservationsFromSeveralStoresNeverDeadlock(t *testing.T) {
	const stores, ids, rounds = 3, 40, 3
	schema := schemaName()
	limit := budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1 << 40, Per: budget.Lifetime()}
	var ledgers []*budget.Ledger
	for range stores {
		ledgers = append(ledgers, ledger(t, closing(t, At(startServer(t).dsn(), Schema(schema), Timeout(patience))), limit))
	}
	before := startServer(t).deadlocks(t)
	for round := range rounds {
		var wg sync.WaitGroup
		each := func(do func(l *budget.Ledger, id string) error) {
			for _, l := range ledgers {
				for i := range ids {
					wg.Go(func() {
						if err := do(l, fmt.Sprint(round, "/", i)); err != nil {
							t.Error(err)
						}
					})
				}
			}
			wg.Wait()
		}
		each(func(l *budget.Ledger, id string) error { _, err := l.Reserve(t.Context(), money(id, 9)); return err })
		each(func(l *budget.Ledger, id string) error {
			_, err := l.Settle(t.Context(), id, budget.Amounts{NanoUSD: 7})
			return err
		})
	}
	states, err := ledgers[0].Snapshot(t.Context())
	must(t, err)
	if states[0].Settled != 7*ids*rounds || states[0].Held != 0 {
		t.Errorf("%+v", states[0])
	}
	if after := startServer(t).deadlocks(t); after != before {
		t.Errorf("%d deadlocks", after-before)
	}
}

func (s *server) deadlocks(t testing.TB) (n int64) {
	t.Helper()
	must(t, s.pool(t).QueryRow(context.Background(), "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'").Scan(&n))
	return n
}

// wire passes bytes between a store and its server, until it is told to lose an answer.
type wire struct {
	l        net.Listener
	to       string
	lose     atomic.Bool
	lost     atomic.Int64
	wg       sync.WaitGroup
	mu       sync.Mutex
	open     []net.Conn
	finished bool
}

func newWire(t *testing.T, srv *server) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w := &wire{l: l, to: "127.0.0.1:" + srv.port}
	w.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.wg.Go(func() { w.pass(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.mu.Lock()
		w.finished = true
		for _, c := range w.open {
			_ = c.Close()
		}
		w.mu.Unlock()
		w.wg.Wait()
	})
	return w
}

func (w *wire) pass(c net.Conn) {
	defer c.Close()
	up, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer up.Close()
	w.mu.Lock()
	w.open = append(w.open, c, up)
	finished := w.finished
	w.mu.Unlock()
	if finished {
		return
	}
	w.wg.Go(func() { _, _ = io.Copy(up, c); _ = up.Close() })
	buf := make([]byte, 1<<16)
	for {
		n, err := up.Read(buf)
		// What a transaction that wrote is answered with, as against one that only looked.
		if w.lose.Load() && bytes.Contains(buf[:n], []byte("COMMIT\x00")) && bytes.Contains(buf[:n], []byte("INSERT 0 ")) && w.lose.CompareAndSwap(true, false) {
			w.lost.Add(1)
			return
		}
		if _, werr := c.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (w *wire) dsn() string {
	return "postgres://gridloop@" + w.l.Addr().String() + "/postgres?connect_timeout=30"
}

func TestLostAnswerIsAskedForAgain(t *testing.T) {
	w := newWire(t, startServer(t))
	s := closing(t, At(w.dsn(), Schema(schemaName())))
	l := ledger(t, s, crashCap(100))
	w.lose.Store(true)
	if _, err := l.Reserve(t.Context(), money("a", 60)); !errors.Is(err, budget.ErrUnavailable) || w.lost.Load() != 1 {
		t.Fatalf("%v with %d answers lost", err, w.lost.Load())
	}
	g, err := l.Reserve(t.Context(), money("a", 60))
	if err != nil || !g.Duplicate || g.Left[0].Held != 60 {
		t.Fatalf("asked again: %+v, %v", g, err)
	}
}

func TestServerThatForgotIsNotSpentFrom(t *testing.T) {
	for _, test := range []struct{ name, forget string }{
		{"a count of earlier", "UPDATE @count SET touched = touched - 1, settled = 0"},
		{"caps of earlier", "UPDATE @account SET version = version - 1"},
		{"another database", "UPDATE @account SET epoch = epoch + 1"},
		{"an empty database", "DELETE FROM @account"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := closing(t, fresh(t))
			l := ledger(t, s, crashCap(100))
			_, err := l.Reserve(t.Context(), money("a", 60))
			must(t, err)
			s.exec(t, test.forget)
			for range 2 { // and it stays so
				if _, err := l.Reserve(t.Context(), money("b", 1)); !errors.Is(err, ErrForgot) || !errors.Is(err, budget.ErrUnavailable) {
					t.Fatal(err)
				}
			}
		})
	}
}

// An account whose first transaction came to nothing was never there, so nobody has forgotten it.
func TestFirstBatchOfAnAccountIsRepeated(t *testing.T) {
	s := closing(t, fresh(t))
	tries := 0
	must(t, s.do(t.Context(), "default", &task{run: func(b *books) error {
		if tries++; tries < 3 {
			return b.fail(errAgain)
		}
		return nil
	}}))
	failed := errors.New("refused")
	if err := s.do(t.Context(), "other", &task{run: func(b *books) error { return b.fail(failed) }}); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	other, err := budget.Open(t.Context(), budget.Config{Store: s, Account: "other", Caps: []budget.Cap{crashCap(5)}})
	must(t, err)
	_, err = other.Reserve(t.Context(), money("a", 5))
	must(t, err)
	s.exec(t, "DELETE FROM @account WHERE name = 'other'")
	if _, err := other.Reserve(t.Context(), money("b", 1)); !errors.Is(err, ErrForgot) {
		t.Fatal(err)
	}
}

func TestNewerSchemaIsRefusedAlsoInMidRun(t *testing.T) {
	s := closing(t, fresh(t))
	l := ledger(t, s, crashCap(100))
	s.exec(t, "UPDATE @meta SET schema = schema + 1")
	var schema *SchemaError
	if _, err := l.Reserve(t.Context(), money("a", 1)); !errors.As(err, &schema) || schema.Have != len(migrations)+1 {
		t.Errorf("reserve: %v", err)
	}
	if _, err := l.Snapshot(t.Context()); !errors.As(err, &schema) {
		t.Errorf("snapshot: %v", err)
	}
	if _, err := Open(t.Context(), startServer(t).pool(t), Schema(s.schema)); !errors.As(err, &schema) {
		t.Errorf("open: %v", err)
	}
}

func TestOlderSchemaIsMigratedOnceByManyProcesses(t *testing.T) {
	s := closing(t, fresh(t))
	must(t, s.ready(t.Context()))
	further := append(slices.Clone(migrations), []string{"CREATE TABLE @later (id int)", "INSERT INTO @later VALUES (7)"})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := s.migrate(context.Background(), further); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.number(t, "SELECT sum(id) FROM @later"); n != 7 {
		t.Errorf("migrated %d times", n/7)
	}
	if n := s.number(t, "SELECT schema FROM @meta"); int(n) != len(further) {
		t.Errorf("schema %d", n)
	}
}

func TestTablesAreMadeOnceByManyProcesses(t *testing.T) {
	schema := schemaName()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s := At(startServer(t).dsn(), Schema(schema), Prefix("spend_"))
			defer s.Close()
			if _, err := s.Caps(context.Background(), "a", 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestExistingRefusesToBeginAnew(t *testing.T) {
	schema := schemaName()
	missing := At(startServer(t).dsn(), Schema(schema), Existing())
	_, err := missing.Caps(t.Context(), "a", 0)
	if !errors.Is(err, ErrMissing) {
		t.Fatal(err)
	}
	must(t, missing.Close())
	s := closing(t, At(startServer(t).dsn(), Schema(schema)))
	ledger(t, s, crashCap(1))
	ledger(t, closing(t, At(startServer(t).dsn(), Schema(schema), Existing())))
}

func TestAddressIsNotRepeatedInErrors(t *testing.T) {
	for _, dsn := range []string{"postgres://u:hunter2@127.0.0.1:1/x?connect_timeout=x", "postgres://u:hunter2@127.0.0.1:1/x?connect_timeout=1"} {
		s := closing(t, At(dsn))
		_, err := s.Caps(t.Context(), "a", 0)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Error(err)
		}
	}
	bad := closing(t, At(startServer(t).dsn(), Schema(`x"; drop`)))
	if _, err := bad.Caps(t.Context(), "a", 0); err == nil || !strings.Contains(err.Error(), "lower case") {
		t.Error(err)
	}
}

func TestServerWithoutFsyncIsRefused(t *testing.T) {
	srv := ownServer(t, "fsync=off")
	var setting *SettingError
	if _, err := closing(t, At(srv.dsn())).Caps(t.Context(), "a", 0); !errors.As(err, &setting) || setting.Name != "fsync" {
		t.Fatal(err)
	}
}

func TestCommitsWaitForTheDiskWhateverTheDefaultIs(t *testing.T) {
	cfg, err := pgxpool.ParseConfig(startServer(t).dsn())
	must(t, err)
	cfg.ConnConfig.RuntimeParams["synchronous_commit"] = "off"
	p, err := pgxpool.NewWithConfig(t.Context(), cfg)
	must(t, err)
	defer p.Close()
	s, err := Open(t.Context(), p, Schema(schemaName()))
	must(t, err)
	defer s.Close()
	said := ""
	must(t, s.do(t.Context(), "a", &task{run: func(b *books) error {
		return b.conn.QueryRow(b.ctx, "SHOW synchronous_commit").Scan(&said)
	}}))
	if said != "on" {
		t.Fatalf("synchronous_commit is %s", said)
	}
}

// A client that stops in mid-transaction loses its locks, and what it does then fails.
func TestStoppedClientHoldsNobodyUpForLong(t *testing.T) {
	s := closing(t, fresh(t, Timeout(20*time.Second)))
	other := closing(t, At(startServer(t).dsn(), Schema(s.schema), Timeout(20*time.Second)))
	l, l2 := ledger(t, s, crashCap(100)), ledger(t, other)
	stopped, goOn := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	tries := 0
	wg.Go(func() {
		var op budget.ReserveOp
		must(t, s.do(context.Background(), "default", &task{id: "x", op: &op, alone: true, run: func(b *books) error {
			if tries++; tries == 1 {
				close(stopped)
				<-goOn
			}
			return nil
		}}))
	})
	<-stopped
	_, err := l2.Reserve(t.Context(), money("b", 5))
	must(t, err)
	close(goOn)
	wg.Wait()
	if tries != 2 {
		t.Errorf("the batch that lost its locks was done %d times", tries)
	}
	_, err = l.Settle(t.Context(), "b", budget.Amounts{NanoUSD: 5})
	must(t, err)
}

func TestLockedAccountIsBusy(t *testing.T) {
	s := closing(t, fresh(t))
	l := ledger(t, s, crashCap(100))
	s.timeout = 200 * time.Millisecond
	tx, err := startServer(t).pool(t).Begin(t.Context())
	must(t, err)
	defer tx.Rollback(context.Background())
	_, err = tx.Exec(t.Context(), "SELECT pg_advisory_xact_lock($1)", s.lockKey("account", "default"))
	must(t, err)
	if _, err := l.Reserve(t.Context(), money("a", 60)); !errors.Is(err, budget.ErrUnavailable) {
		t.Fatal(err)
	}
	if states, err := l.Snapshot(t.Context()); err != nil || states[0].Held != 0 { // looking waits for nobody
		t.Fatal(states, err)
	}
	must(t, tx.Rollback(t.Context()))
	s.timeout = defaultTimeout
	_, err = l.Reserve(t.Context(), money("b", 100))
	must(t, err)
}

func TestMoneyComesBackBeforeItIsAskedFor(t *testing.T) {
	s := closing(t, fresh(t))
	l := ledger(t, s, crashCap(100))
	_, err := l.Reserve(t.Context(), money("a", 100))
	must(t, err)
	begun, goOn := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		must(t, s.do(context.Background(), "default", &task{run: func(*books) error { close(begun); <-goOn; return nil }}))
	})
	<-begun
	wg.Go(func() {
		if _, err := l.Reserve(t.Context(), money("b", 90)); err != nil {
			t.Error(err)
		}
	})
	s.waitFor(t, 1)
	wg.Go(func() {
		if _, err := l.Settle(t.Context(), "a", budget.Amounts{NanoUSD: 10}); err != nil {
			t.Error(err)
		}
	})
	s.waitFor(t, 2)
	close(goOn)
	wg.Wait()
}

// waitFor waits until so many operations stand in line.
func (s *Store) waitFor(t testing.TB, n int) {
	t.Helper()
	q := &s.accounts["default"].queue
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if q.Waiting() >= n {
			return
		}
	}
	t.Fatalf("nobody stands in line")
}

func TestWhoLeavesTheQueueHasDoneNothing(t *testing.T) {
	s := closing(t, fresh(t))
	l := ledger(t, s, crashCap(100))
	begun, goOn := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		must(t, s.do(context.Background(), "default", &task{run: func(*books) error { close(begun); <-goOn; return nil }}))
	})
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		if _, err := l.Reserve(ctx, money("a", 60)); !errors.Is(err, context.Canceled) || !errors.Is(err, budget.ErrUnavailable) {
			t.Error(err)
		}
	})
	s.waitFor(t, 1)
	cancel()
	time.Sleep(20 * time.Millisecond)
	close(goOn)
	wg.Wait()
	_, err := l.Reserve(t.Context(), money("b", 100))
	must(t, err)
}

func TestAcceptedOperationsAreDoneBeforeClose(t *testing.T) {
	s := fresh(t)
	l := ledger(t, s, crashCap(1000))
	var wg sync.WaitGroup
	var granted atomic.Int64
	for i := range 64 {
		wg.Go(func() {
			if _, err := l.Reserve(context.Background(), money(fmt.Sprint(i), 1)); err == nil {
				granted.Add(1)
			} else if !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		})
	}
	must(t, s.Close())
	wg.Wait()
	must(t, s.Close())
	if _, err := l.Snapshot(t.Context()); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	again := closing(t, At(startServer(t).dsn(), Schema(s.schema)))
	states, err := ledger(t, again).Snapshot(t.Context())
	must(t, err)
	if states[0].Held != granted.Load() {
		t.Fatalf("%d held, %d granted", states[0].Held, granted.Load())
	}
}

func TestIDsAreOnlyBytes(t *testing.T) {
	s := closing(t, fresh(t))
	l := ledger(t, s, crashCap(1000))
	long := strings.Repeat("\xff\x00%", 300)
	ids := []string{"a\x00b", "a", "a\xff", "A", "a%", "a_", "ä", "'; --", long}
	for i, id := range ids {
		_, err := l.Reserve(t.Context(), money(id, int64(i+1)))
		must(t, err)
	}
	if open, err := l.OpenReservations(t.Context(), "a"); err != nil || len(open) != 5 || open[1].ID != "a\x00b" {
		t.Fatalf("open %+v, %v", open, err)
	}
	for i, id := range ids {
		settled, err := l.Settle(t.Context(), id, budget.Amounts{NanoUSD: 1})
		if err != nil || settled.Reserved.NanoUSD != int64(i+1) {
			t.Fatalf("%q: %+v, %v", id, settled, err)
		}
	}
	// The longest names of everything fit, and say what they said.
	name := strings.Repeat("\x00%", 256)
	odd, err := budget.Open(t.Context(), budget.Config{Store: s, Account: name, Caps: []budget.Cap{
		{For: budget.One("tenant", name).And(budget.Each("user")).And(budget.Each("run")), Meter: budget.MeterMoney, Limit: 5, Per: budget.Lifetime()}}})
	must(t, err)
	scopes := []budget.Scope{{Kind: "tenant", Name: name}, {Kind: "user", Name: name}, {Kind: "run", Name: name}}
	_, err = odd.Reserve(t.Context(), budget.Request{ID: "a", Scopes: scopes, Amounts: budget.Amounts{NanoUSD: 5}})
	must(t, err)
	must(t, odd.Freeze(t.Context(), scopes[0], name, time.Time{}, name))
	freezes, err := odd.Freezes(t.Context())
	if err != nil || len(freezes) != 1 || freezes[0].Reason != name || freezes[0].By != name {
		t.Fatalf("%+v, %v", freezes, err)
	}
}

func TestDamagedRowHarmsOnlyItself(t *testing.T) {
	s := closing(t, fresh(t))
	l := ledger(t, s, crashCap(100))
	for _, id := range []string{"a", "b"} {
		_, err := l.Reserve(t.Context(), money(id, 10))
		must(t, err)
	}
	s.exec(t, "CREATE TABLE @was AS SELECT * FROM @reservation")
	for column, text := range map[string]string{"bound": "lots", "links": "1 x", "scopes": "galaxy", "corrections": "receipt"} {
		s.exec(t, "UPDATE @reservation SET "+column+" = $1 WHERE id = 'a'", text)
		if _, err := l.Settle(t.Context(), "a", budget.Amounts{NanoUSD: 1}); !errors.Is(err, ErrDamaged) || !errors.Is(err, budget.ErrUnavailable) {
			t.Errorf("%s: %v", column, err)
		}
		if _, err := l.Reserve(t.Context(), money("b", 10)); err != nil {
			t.Errorf("%s: another reservation: %v", column, err)
		}
		s.exec(t, "UPDATE @reservation r SET "+column+" = w."+column+" FROM @was w WHERE w.id = r.id")
	}
	settled, err := l.Settle(t.Context(), "a", budget.Amounts{NanoUSD: 1})
	must(t, err)
	if settled.Left[0].Settled != 1 || settled.Left[0].Held != 10 {
		t.Fatalf("mended: %+v", settled)
	}
}

func TestClockNeverRunsBackwards(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	wall := stopped(noon)
	first := closing(t, fresh(t))
	second := closing(t, At(startServer(t).dsn(), Schema(first.schema)))
	first.clock, second.clock = wall.now, wall.now
	now := func(s *Store) time.Duration {
		var ans budget.Answer
		must(t, s.Sweep(t.Context(), "default", 1, &ans))
		return ans.Now.Sub(noon)
	}
	l := ledger(t, first, crashCap(100))
	ledger(t, second)
	_, err := l.Reserve(t.Context(), budget.Request{ID: "a", Amounts: budget.Amounts{NanoUSD: 5}, Lease: time.Minute})
	must(t, err)
	for _, test := range []struct {
		name string
		step time.Duration
		want time.Duration // since noon
	}{{"back", -10 * time.Second, 0}, {"back further", -24 * time.Hour, 0}, {"forward", 24*time.Hour + 20*time.Second, 10 * time.Second}} {
		wall.pass(test.step)
		for handle, s := range []*Store{first, second} {
			if got := now(s); got != test.want {
				t.Errorf("%s: handle %d says noon %+v, want %+v", test.name, handle, got, test.want)
			}
		}
		_, err := ledger(t, second).Reserve(t.Context(), budget.Request{ID: test.name, Amounts: budget.Amounts{NanoUSD: 1}})
		must(t, err)
	}
	// Less than a second is only in the counts: what was admitted by one process is no later than by the next.
	wall.pass(900 * time.Millisecond)
	g, err := l.Reserve(t.Context(), budget.Request{ID: "late", Amounts: budget.Amounts{NanoUSD: 1}, Lease: time.Minute})
	must(t, err)
	wall.pass(-time.Hour)
	if got := now(first); got != 10900*time.Millisecond { // no row that a sweep reads says so, but this process has said it
		t.Errorf("after 900 ms and an hour back: noon +%v", got)
	}
	third := closing(t, At(startServer(t).dsn(), Schema(first.schema), Existing()))
	third.clock = wall.now
	again, err := ledger(t, third).Reserve(t.Context(), budget.Request{ID: "later", Amounts: budget.Amounts{NanoUSD: 1}, Lease: time.Minute})
	must(t, err)
	if again.Expires.Before(g.Expires) {
		t.Errorf("opened an hour early, a lease ends %v, want not before %v", again.Expires, g.Expires)
	}
}

// What nobody may count on any more is in nobody's way, whichever process it belonged to.
func TestReserveEndsLeasesOfOtherProcesses(t *testing.T) {
	wall := stopped(time.Now())
	first := closing(t, fresh(t))
	second := closing(t, At(startServer(t).dsn(), Schema(first.schema), Timeout(patience)))
	first.clock, second.clock = wall.now, wall.now
	l, other := ledger(t, first, crashCap(100)), ledger(t, second, crashCap(100))
	_, err := other.Reserve(t.Context(), money("b", 1)) // it has just looked
	must(t, err)
	_, err = l.Reserve(t.Context(), budget.Request{ID: "a", Amounts: budget.Amounts{NanoUSD: 99}, Idle: true, Lease: 10 * time.Millisecond})
	must(t, err)
	wall.pass(10 * time.Millisecond)
	g, err := other.Reserve(t.Context(), money("c", 99))
	if err != nil || !slices.Equal(g.Expired, []string{"a"}) {
		t.Fatalf("%+v, %v", g, err)
	}
}

func TestTablesStayBounded(t *testing.T) {
	const keep = 24
	wall := stopped(time.Now())
	s := closing(t, fresh(t, Keep(keep)))
	s.clock = wall.now
	minute := budget.Fixed(time.Minute, time.Time{})
	l := ledger(t, s,
		budget.Cap{For: budget.Each("run"), Meter: budget.MeterMoney, Limit: 1000, Per: budget.Lifetime()},
		budget.Cap{For: budget.Each("run"), Meter: budget.MeterTokens, Limit: 1000, Per: minute},
		budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 1000, Per: minute},
		budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterTokens, Limit: 1000, Per: budget.Rolling(time.Hour)})
	const runs = 160
	for i := range runs {
		run := budget.Scope{Kind: "run", Name: fmt.Sprint(i)}
		must(t, l.Define(t.Context(), "agent", budget.Cap{For: budget.One("run", run.Name), Meter: budget.MeterMoney, Limit: 500, Per: budget.Lifetime()}))
		id := "op/" + run.Name
		_, err := l.Reserve(t.Context(), budget.Request{ID: id, Amounts: budget.Amounts{NanoUSD: 5, Tokens: 5}, Scopes: []budget.Scope{run, {Kind: "tenant", Name: fmt.Sprint(i)}}})
		must(t, err)
		_, err = l.Settle(t.Context(), id, budget.Amounts{NanoUSD: 1, Tokens: 1})
		must(t, err)
		if i%10 != 0 { // some runs are never forgotten
			must(t, l.Forget(t.Context(), run))
		}
		wall.pass(10 * time.Minute)
	}
	for range 2 { // what could not be tended to is tried again after a later batch
		_, err := l.Sweep(t.Context(), 1)
		must(t, err)
	}
	for table, most := range map[string]int64{"reservation": keep + keep/4, "count": 2*runs/10 + 4*(keep+keep/4), "cap": 4 + runs/10 + keep + keep/4, "closed": 24*6 + 10, "change": 4} {
		if n := s.number(t, "SELECT count(*) FROM @"+table); n > most || n == 0 {
			t.Errorf("%s has %d rows, want at most %d", table, n, most)
		}
	}
	caps, err := l.Caps(t.Context())
	must(t, err)
	if len(caps) != 4+runs/10 {
		t.Errorf("the ledger knows %d caps", len(caps))
	}
}

// All that a month counts is to be forgotten at the same time. If it is too much, the latest are kept.
func TestLatestEndedReservationsAreKept(t *testing.T) {
	const keep, calls = 16, 80
	wall := stopped(time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC))
	s := closing(t, fresh(t, Keep(keep)))
	s.clock = wall.now
	l := ledger(t, s, budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1000, Per: budget.Month(nil)})
	settle := func(i int) (budget.Settlement, error) {
		return l.Settle(t.Context(), fmt.Sprint(i), budget.Amounts{NanoUSD: 1})
	}
	for i := range calls {
		_, err := l.Reserve(t.Context(), money(fmt.Sprint(i), 1))
		must(t, err)
		_, err = settle(i)
		must(t, err)
		wall.pass(time.Second)
	}
	for range 2 {
		_, err := l.Sweep(t.Context(), 1)
		must(t, err)
	}
	for i := calls - keep; i < calls; i++ {
		if again, err := settle(i); err != nil || !again.Duplicate {
			t.Errorf("call %d of %d: %+v, %v", i, calls, again, err)
		}
	}
	if _, err := settle(calls - 2*keep); !errors.Is(err, budget.ErrUnknownReservation) {
		t.Errorf("an old one: %v", err)
	}
	if n := s.number(t, "SELECT count(*) FROM @reservation"); n > keep+keep/4 {
		t.Errorf("%d are kept of %d", n, keep)
	}
}

func TestEndedReservationsAreKeptForADayBeyondTheirWindow(t *testing.T) {
	wall := stopped(time.Now().Truncate(time.Second))
	s := closing(t, fresh(t))
	s.clock = wall.now
	l := ledger(t, s, budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1000, Per: budget.Fixed(48*time.Hour, wall.now())})
	_, err := l.Reserve(t.Context(), money("a", 5))
	must(t, err)
	_, err = l.Settle(t.Context(), "a", budget.Amounts{NanoUSD: 5})
	must(t, err)
	for _, step := range []struct {
		wait time.Duration
		kept int64
	}{{47 * time.Hour, 1}, {24 * time.Hour, 1}, {time.Hour + time.Minute, 0}} {
		wall.pass(step.wait)
		_, err := l.Sweep(t.Context(), 1)
		must(t, err)
		_, err = l.Sweep(t.Context(), 1) // what is tended after the first is seen by the second
		must(t, err)
		for _, table := range []string{"reservation", "count"} {
			if n := s.number(t, "SELECT count(*) FROM @"+table); n != step.kept {
				t.Fatalf("after %v more, %s has %d rows, want %d", step.wait, table, n, step.kept)
			}
		}
	}
}
