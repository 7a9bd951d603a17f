package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// standby is a server that follows s, by streaming.
func (s *server) standby() *server {
	s.t.Helper()
	f := &server{t: s.t, bin: s.bin, as: s.as, settings: s.settings}
	f.makeDir()
	f.run("pg_basebackup", "-D", f.data(), "-h", "127.0.0.1", "-p", s.port, "-U", "gridloop", "-R", "-X", "stream", "-c", "fast", "--no-sync")
	f.port = freePort(s.t)
	f.start()
	s.t.Cleanup(f.stop)
	return f
}

func (s *server) promote() {
	s.t.Helper()
	s.run("pg_ctl", "promote", "-D", s.data(), "-w", "-t", "120")
}

// sets changes settings of a server that runs.
func (s *server) sets(settings map[string]string) {
	s.t.Helper()
	p := s.pool(s.t)
	for name, value := range settings {
		_, err := p.Exec(s.t.Context(), fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", name, value))
		must(s.t, err)
	}
	_, err := p.Exec(s.t.Context(), "SELECT pg_reload_conf()")
	must(s.t, err)
}

// awaits waits until a server says yes.
func (s *server) awaits(query string) {
	s.t.Helper()
	p := s.pool(s.t)
	for range 3000 {
		var yes bool
		must(s.t, p.QueryRow(s.t.Context(), query).Scan(&yes))
		if yes {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.t.Fatalf("it never comes to %q", query)
}

// eitherOf is an address that leads to the one of two servers that takes writes.
func eitherOf(a, b *server) string {
	return fmt.Sprintf("postgres://gridloop@127.0.0.1:%s,127.0.0.1:%s/postgres?connect_timeout=30&target_session_attrs=read-write", a.port, b.port)
}

// insisting calls a provider through stores until the cap is spent, and repeats what nobody knows.
type insisting struct {
	t       *testing.T
	calls   atomic.Int64
	bill    atomic.Int64
	unknown atomic.Int64
	mu      sync.Mutex
	settled map[string]int64 // that the store has confirmed
}

func (w *insisting) ask(f func() error) error {
	for range 6000 {
		err := f()
		if !errors.Is(err, budget.ErrUnavailable) || errors.Is(err, ErrForgot) {
			return err
		}
		w.unknown.Add(1)
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("it stays unavailable")
}

func (w *insisting) spend(l *budget.Ledger, caller string, most int64) error {
	ctx := context.Background()
	for i := 0; ; i++ {
		id, bound := fmt.Sprintf("%s/%d", caller, i), 1+rand.Int64N(most)
		err := w.ask(func() error { _, err := l.Reserve(ctx, money(id, bound)); return err })
		switch {
		case errors.Is(err, budget.ErrHeld):
			time.Sleep(5 * time.Millisecond)
			continue
		case errors.Is(err, budget.ErrSpent):
			if bound > 1 {
				continue // something smaller may fit still
			}
			return nil
		case err != nil:
			return err
		}
		actual := 1 + rand.Int64N(bound)
		w.bill.Add(actual)
		w.calls.Add(1)
		if err := w.ask(func() error { _, err := l.Settle(ctx, id, budget.Amounts{NanoUSD: actual}); return err }); err != nil {
			return err
		}
		w.mu.Lock()
		w.settled[id] = actual
		w.mu.Unlock()
	}
}

// A server dies while callers work, and its standby takes over. What was answered is there, each call counts once, and all
// go on without being told.
func TestSynchronousStandbyTakesOverAndNothingIsLost(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a standby")
	}
	const most, callers = 100, 6
	limit, levels := int64(20_000), []string{"on"}
	if os.Getenv("GRIDLOOP_LONG") != "" {
		limit, levels = 600_000, []string{"on", "remote_apply"}
	}
	for _, level := range levels {
		t.Run(level, func(t *testing.T) {
			primary := ownServer(t)
			primary.t = t
			follower := primary.standby()
			primary.sets(map[string]string{"synchronous_standby_names": "*", "synchronous_commit": level})
			primary.awaits("SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync') AND current_setting('synchronous_commit') = '" + level + "'")
			w := &insisting{t: t, settled: map[string]int64{}}
			var wg sync.WaitGroup
			var ledgers []*budget.Ledger
			for process := range 2 {
				l := ledger(t, closing(t, At(eitherOf(primary, follower), Schema("spending"))), crashCap(limit))
				ledgers = append(ledgers, l)
				for caller := range callers {
					wg.Go(func() {
						if err := w.spend(l, fmt.Sprint(process, "/", caller), most); err != nil {
							t.Error(err)
						}
					})
				}
			}
			for w.calls.Load() < limit/200 && !t.Failed() {
				time.Sleep(time.Millisecond)
			}
			primary.crash()
			before := w.calls.Load()
			follower.promote()
			wg.Wait()
			states, err := ledgers[0].Snapshot(t.Context())
			must(t, err)
			t.Logf("%d calls, %d of them before the server died, billed %d, counted %d of %d; %d answers were unknown", w.calls.Load(), before, w.bill.Load(), states[0].Settled, limit, w.unknown.Load())
			if bill := w.bill.Load(); bill > limit || states[0].Settled != bill || states[0].Held != 0 || bill < limit-most {
				t.Errorf("billed %d: %+v", bill, states[0])
			}
			for id, actual := range w.settled {
				wg.Go(func() {
					if s, err := ledgers[1].Settle(t.Context(), id, budget.Amounts{NanoUSD: actual}); err != nil || !s.Duplicate {
						t.Errorf("%s was settled with %d, now %+v, %v", id, actual, s, err)
					}
				})
			}
			wg.Wait()
			if before >= w.calls.Load() || w.unknown.Load() == 0 {
				t.Error("nobody was at work when the server died")
			}
		})
	}
}

// A standby that had not heard everything loses it. Who was told more stops; who was not, or comes later, cannot know, and
// what is missing can be spent once more.
func TestAsynchronousStandbyLosesWhatItHadNotHeard(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a standby")
	}
	primary := ownServer(t)
	follower := primary.standby()
	open := func() *budget.Ledger {
		return ledger(t, closing(t, At(eitherOf(primary, follower), Schema("spending"))), crashCap(100))
	}
	told, other := open(), open()
	for i, l := range []*budget.Ledger{told, other} {
		_, err := l.Reserve(t.Context(), money(fmt.Sprint("heard ", i), 10))
		must(t, err)
	}
	lsn := ""
	must(t, primary.pool(t).QueryRow(t.Context(), "SELECT pg_current_wal_lsn()::text").Scan(&lsn))
	follower.awaits("SELECT pg_last_wal_replay_lsn() >= '" + lsn + "'")
	follower.sets(map[string]string{"primary_conninfo": ""})
	follower.awaits("SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")
	_, err := told.Reserve(t.Context(), money("lost", 70)) // and it is billed
	must(t, err)
	primary.crash()
	follower.promote()
	w := &insisting{t: t}
	for range 2 { // and it stays so
		if err := w.ask(func() error { _, err := told.Reserve(t.Context(), money("more", 1)); return err }); !errors.Is(err, ErrForgot) {
			t.Errorf("who was told more: %v", err)
		}
	}
	if err := w.ask(func() error { _, err := told.Settle(t.Context(), "lost", budget.Amounts{NanoUSD: 70}); return err }); !errors.Is(err, ErrForgot) {
		t.Errorf("who was told more settles: %v", err)
	}
	var left int64
	must(t, w.ask(func() error {
		g, err := other.Reserve(t.Context(), money("again", 70))
		if err == nil {
			left = g.Left[0].Left
		}
		return err
	}))
	if left != 10 {
		t.Errorf("%d are left, want the 10 that the standby knows of", left)
	}
	restarted := open()
	if _, err := restarted.Settle(t.Context(), "lost", budget.Amounts{NanoUSD: 70}); !errors.Is(err, budget.ErrUnknownReservation) {
		t.Errorf("what was lost is known: %v", err)
	}
	if _, err := restarted.Settle(t.Context(), "heard 0", budget.Amounts{NanoUSD: 10}); err != nil {
		t.Errorf("what was heard: %v", err)
	}
	// What was missing is entered by hand: the cap is lowered by it.
	must(t, restarted.Define(t.Context(), "ann", crashCap(100-70)))
	if _, err := restarted.Reserve(t.Context(), money("not again", 1)); !errors.Is(err, budget.ErrDenied) {
		t.Errorf("after the cap was lowered: %v", err)
	}
}
