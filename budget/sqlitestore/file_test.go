package sqlitestore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/sqlitestore"
)

func raw(t *testing.T, path string) sqlitestore.Raw {
	t.Helper()
	r, err := sqlitestore.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ledger(t *testing.T, s budget.Store, caps ...budget.Cap) *budget.Ledger {
	t.Helper()
	l, err := budget.Open(t.Context(), budget.Config{Store: s, Caps: caps, Lease: time.Hour})
	must(t, err)
	return l
}

func money(id string, nano int64) budget.Request {
	return budget.Request{ID: id, Amounts: budget.Amounts{NanoUSD: nano}}
}

func newFile(t *testing.T) string { return filepath.Join(t.TempDir(), "a ?#%41 spend.db") }

func TestCommitsAreDurable(t *testing.T) {
	s := open(t, newFile(t))
	defer s.Close()
	for query, want := range map[string]string{"PRAGMA journal_mode": "wal", "PRAGMA synchronous": "2", "SELECT schema FROM budget_meta": fmt.Sprint(sqlitestore.Schema())} {
		if got, err := sqlitestore.Ask(t.Context(), s, query); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", query, got, err, want)
		}
	}
}

func TestWhatWasCountedOutlivesTheStore(t *testing.T) {
	path := newFile(t)
	s := open(t, path)
	l := ledger(t, s, workCap(100))
	for _, id := range []string{"a", "b"} {
		_, err := l.Reserve(t.Context(), money(id, 40))
		must(t, err)
	}
	_, err := l.Settle(t.Context(), "a", budget.Amounts{NanoUSD: 30})
	must(t, err)
	must(t, s.Close())
	if _, err := os.Stat(path); err != nil {
		t.Fatal("the file is not where it was asked for: ", err)
	}
	s = open(t, path, sqlitestore.Existing())
	defer s.Close()
	states, err := ledger(t, s).Snapshot(t.Context())
	must(t, err)
	if len(states) != 1 || states[0].Settled != 30 || states[0].Held != 40 || states[0].Left != 30 {
		t.Fatalf("after opening again: %+v", states)
	}
}

func TestFilesThatCannotBeUsedSaySo(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	newer := filepath.Join(dir, "newer.db")
	must(t, open(t, newer).Close())
	must(t, raw(t, newer).Exec("UPDATE budget_meta SET schema = 99"))
	var schema *sqlitestore.SchemaError
	for _, test := range []struct {
		name, path string
		want       func(error) bool
	}{
		{"missing", filepath.Join(dir, "missing.db"), func(err error) bool { return errors.Is(err, sqlitestore.ErrMissing) }},
		{"newer schema", newer, func(err error) bool {
			return errors.As(err, &schema) && schema.Have == 99 && schema.Want == sqlitestore.Schema()
		}},
		{"a directory", dir, func(err error) bool { return strings.Contains(err.Error(), "directory") }},
		{"no directory", filepath.Join(dir, "no", "spend.db"), func(err error) bool { return err != nil }},
		{"no path", "", func(err error) bool { return errors.Is(err, os.ErrInvalid) }},
		{"another kind of file", write("text.db", strings.Repeat("this is no database ", 100)), func(err error) bool { return strings.Contains(err.Error(), "not a database") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := sqlitestore.Open(t.Context(), test.path, sqlitestore.Existing())
			if err == nil || !test.want(err) || !strings.HasPrefix(err.Error(), "sqlitestore: ") {
				t.Errorf("open: %v", err)
			}
			s := sqlitestore.At(test.path, sqlitestore.Existing())
			_, err = budget.Open(t.Context(), budget.Config{Store: s, Caps: []budget.Cap{workCap(1)}})
			if !errors.Is(err, budget.ErrUnavailable) || !test.want(err) {
				t.Errorf("through a ledger: %v", err)
			}
			must(t, s.Close())
		})
	}
}

func TestOlderFilesAreMigratedAndNewerRefused(t *testing.T) {
	path := newFile(t)
	old := open(t, path)
	l := ledger(t, old, workCap(100))
	_, err := l.Reserve(t.Context(), money("a", 40))
	must(t, err)
	next := raw(t, path)
	must(t, sqlitestore.Migrate(next, []string{"ALTER TABLE budget_reservation ADD COLUMN note TEXT", "CREATE TABLE budget_note (id INTEGER)"}))
	if n, err := next.Number("SELECT schema FROM budget_meta"); err != nil || n != int64(sqlitestore.Schema()+1) {
		t.Fatalf("schema %d, %v", n, err)
	}
	if n, err := next.Number("SELECT count(*) FROM budget_reservation WHERE note IS NULL"); err != nil || n != 1 {
		t.Fatalf("%d reservations, %v", n, err)
	}
	if err := sqlitestore.Migrate(next, []string{"SELECT 1"}, []string{"this is not SQL"}); err == nil {
		t.Fatal("a migration that fails is taken for one that did not")
	}
	if n, err := next.Number("SELECT schema FROM budget_meta"); err != nil || n != int64(sqlitestore.Schema()+1) {
		t.Fatalf("a failed migration left schema %d, %v", n, err)
	}
	// A program that was running meanwhile must not go on by rules that it does not know.
	var schema *sqlitestore.SchemaError
	if _, err := l.Reserve(t.Context(), money("b", 1)); !errors.As(err, &schema) {
		t.Errorf("the old program goes on: %v", err)
	}
	if _, err := l.Snapshot(t.Context()); !errors.As(err, &schema) {
		t.Errorf("the old program goes on reading: %v", err)
	}
	must(t, old.Close())
	if _, err := sqlitestore.Open(t.Context(), path); !errors.As(err, &schema) {
		t.Errorf("the old program begins: %v", err)
	}
}

// ledger2 opens a ledger that defines nothing.
func ledger2(t *testing.T, s budget.Store) *budget.Ledger {
	t.Helper()
	l, err := budget.Open(t.Context(), budget.Config{Store: s})
	must(t, err)
	return l
}

func TestReplacedFileIsNotSpentFrom(t *testing.T) {
	path := newFile(t)
	s := open(t, path)
	defer s.Close()
	l := ledger(t, s, workCap(100))
	_, err := l.Reserve(t.Context(), money("a", 100))
	must(t, err)
	away := path + ".away"
	move := func(from, to string) {
		for _, part := range []string{"", "-wal", "-shm"} {
			must(t, os.Rename(from+part, to+part))
		}
	}
	for _, test := range []struct {
		name    string
		replace func()
	}{{"moved away", func() {}}, {"another in its place", func() { must(t, open(t, path).Close()) }}} {
		move(path, away)
		test.replace()
		for range 2 {
			if _, err := l.Reserve(t.Context(), money("b", 1)); !errors.Is(err, sqlitestore.ErrReplaced) || !errors.Is(err, budget.ErrUnavailable) {
				t.Fatalf("%s: reserve: %v", test.name, err)
			}
			if _, err := l.Snapshot(t.Context()); !errors.Is(err, sqlitestore.ErrReplaced) {
				t.Fatalf("%s: snapshot: %v", test.name, err)
			}
		}
		_ = os.Remove(path)
		move(away, path)
		if _, err := l.Reserve(t.Context(), money("b", 1)); !errors.Is(err, budget.ErrHeld) {
			t.Fatalf("%s, put back: %v", test.name, err)
		}
	}
}

func TestDamagedRowHarmsOnlyItself(t *testing.T) {
	path := newFile(t)
	s := open(t, path)
	defer s.Close()
	l := ledger(t, s, workCap(100))
	for _, id := range []string{"a", "b"} {
		_, err := l.Reserve(t.Context(), money(id, 10))
		must(t, err)
	}
	r := raw(t, path)
	for column, text := range map[string]string{"bound": "lots", "links": "1 x", "scopes": "galaxy", "corrections": "receipt"} {
		must(t, r.Exec("CREATE TEMP TABLE IF NOT EXISTS was AS SELECT * FROM budget_reservation"))
		must(t, r.Exec(fmt.Sprintf("UPDATE budget_reservation SET %s = '%s' WHERE id = 'a'", column, text)))
		if _, err := l.Settle(t.Context(), "a", budget.Amounts{NanoUSD: 1}); !errors.Is(err, sqlitestore.ErrDamaged) || !errors.Is(err, budget.ErrUnavailable) {
			t.Errorf("%s: %v", column, err)
		}
		if _, err := l.Reserve(t.Context(), money("b", 10)); err != nil {
			t.Errorf("%s: another reservation: %v", column, err)
		}
		must(t, r.Exec(fmt.Sprintf("UPDATE budget_reservation SET %s = (SELECT %s FROM was WHERE was.seq = budget_reservation.seq)", column, column)))
	}
	settled, err := l.Settle(t.Context(), "a", budget.Amounts{NanoUSD: 1})
	must(t, err)
	if settled.Left[0].Settled != 1 || settled.Left[0].Held != 10 {
		t.Fatalf("mended: %+v", settled)
	}
}

func TestIDsAreOnlyBytes(t *testing.T) {
	s := open(t, newFile(t))
	defer s.Close()
	l := ledger(t, s, workCap(1000))
	ids := []string{"a\x00b", "a", "a\xff", "A", "a%", "a_", "ä", "'; --"}
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
}

func TestClosedStoreSaysSo(t *testing.T) {
	s := sqlitestore.At(newFile(t))
	must(t, s.Close())
	must(t, s.Close())
	_, err := s.Define(t.Context(), "a", "b", nil)
	_, snapshot := s.Snapshot(t.Context(), "a", nil)
	if !errors.Is(err, sqlitestore.ErrClosed) || !errors.Is(snapshot, sqlitestore.ErrClosed) {
		t.Fatal(err, snapshot)
	}
	s = open(t, newFile(t))
	must(t, s.Close())
	if _, err := s.Snapshot(t.Context(), "a", nil); !errors.Is(err, sqlitestore.ErrClosed) {
		t.Fatal(err)
	}
}

func TestAcceptedOperationsAreDoneBeforeClose(t *testing.T) {
	path := newFile(t)
	s := open(t, path)
	l := ledger(t, s, workCap(1000))
	var wg sync.WaitGroup
	granted := make(chan int64, 64)
	for i := range 64 {
		wg.Go(func() {
			if _, err := l.Reserve(context.Background(), money(fmt.Sprint(i), 1)); err == nil {
				granted <- 1
			} else if !errors.Is(err, sqlitestore.ErrClosed) {
				t.Error(err)
			}
		})
	}
	must(t, s.Close())
	wg.Wait()
	s = open(t, path)
	defer s.Close()
	states, err := ledger2(t, s).Snapshot(t.Context())
	must(t, err)
	if states[0].Held != int64(len(granted)) {
		t.Fatalf("%d held, %d granted", states[0].Held, len(granted))
	}
}

func TestLockedFileIsUnavailable(t *testing.T) {
	path := newFile(t)
	s := open(t, path, sqlitestore.Busy(50*time.Millisecond))
	defer s.Close()
	l := ledger(t, s, workCap(100))
	other := raw(t, path)
	must(t, other.Exec("BEGIN IMMEDIATE"))
	if _, err := l.Reserve(t.Context(), money("a", 60)); !errors.Is(err, sqlitestore.ErrBusy) || !errors.Is(err, budget.ErrUnavailable) {
		t.Fatal(err)
	}
	if states, err := l.Snapshot(t.Context()); err != nil || states[0].Held != 0 { // looking waits for nobody
		t.Fatal(states, err)
	}
	// Whoever leaves the queue has reserved nothing.
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := l.Reserve(ctx, money("b", 60)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	must(t, other.Exec("ROLLBACK"))
	if _, err := l.Reserve(t.Context(), money("c", 100)); err != nil {
		t.Fatal(err)
	}
}

func TestMoneyComesBackBeforeItIsAskedFor(t *testing.T) {
	path := newFile(t)
	s := open(t, path)
	defer s.Close()
	l := ledger(t, s, workCap(100))
	_, err := l.Reserve(t.Context(), money("a", 100))
	must(t, err)
	other := raw(t, path)
	must(t, other.Exec("BEGIN IMMEDIATE"))
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := l.Reserve(t.Context(), money("b", 90)); err != nil {
			t.Error(err)
		}
	})
	time.Sleep(20 * time.Millisecond)
	wg.Go(func() {
		if _, err := l.Settle(t.Context(), "a", budget.Amounts{NanoUSD: 10}); err != nil {
			t.Error(err)
		}
	})
	time.Sleep(20 * time.Millisecond)
	must(t, other.Exec("ROLLBACK"))
	wg.Wait()
}

func TestFailedCommitChangesNothing(t *testing.T) {
	path := newFile(t)
	s := open(t, path)
	defer s.Close()
	l := ledger(t, s, workCap(1_000_000))
	_, err := l.Reserve(t.Context(), money("before", 10))
	must(t, err)
	pages, err := sqlitestore.Ask(t.Context(), s, "PRAGMA page_count")
	must(t, err)
	if _, err := sqlitestore.Ask(t.Context(), s, "PRAGMA max_page_count = "+pages); err != nil { // a full disk
		t.Fatal(err)
	}
	granted, failed := int64(10), false
	for i := range 1000 {
		_, err := l.Reserve(t.Context(), money(fmt.Sprintf("%d%s", i, strings.Repeat("x", 900)), 1))
		if failed = errors.Is(err, budget.ErrUnavailable) && strings.Contains(err.Error(), "full"); failed {
			break
		}
		must(t, err)
		granted++
	}
	if !failed {
		t.Fatal("the disk never was full")
	}
	settled, err := l.Settle(t.Context(), "before", budget.Amounts{NanoUSD: 4}) // the file was opened anew, without the limit
	must(t, err)
	if settled.Left[0].Held != granted-10 || settled.Left[0].Settled != 4 {
		t.Fatalf("%+v after %d were granted", settled.Left[0], granted)
	}
}

func TestClockNeverRunsBackwards(t *testing.T) {
	path := newFile(t)
	wall := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return wall }
	first, second := sqlitestore.At(path), sqlitestore.At(path)
	sqlitestore.SetClock(first, clock)
	sqlitestore.SetClock(second, clock)
	now := func(s *sqlitestore.Store) time.Time {
		var ans budget.Answer
		must(t, s.Sweep(t.Context(), "default", 1, &ans))
		return ans.Now
	}
	l := ledger(t, first, workCap(100))
	_, err := l.Reserve(t.Context(), budget.Request{ID: "a", Amounts: budget.Amounts{NanoUSD: 5}, Lease: time.Minute})
	must(t, err)
	for _, test := range []struct {
		name string
		step time.Duration
		want time.Duration // since noon
	}{{"back", -10 * time.Second, 0}, {"back further", -24 * time.Hour, 0}, {"forward", 24*time.Hour + 20*time.Second, 10 * time.Second}} {
		wall = wall.Add(test.step)
		for handle, s := range []*sqlitestore.Store{first, second} {
			if got := now(s).Sub(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)); got != test.want {
				t.Errorf("%s: handle %d says noon %+v, want %+v", test.name, handle, got, test.want)
			}
		}
		_, err := ledger2(t, second).Reserve(t.Context(), budget.Request{ID: test.name, Amounts: budget.Amounts{NanoUSD: 1}})
		must(t, err)
	}
	must(t, first.Close())
	must(t, second.Close())
	wall = wall.Add(-time.Hour)
	third := sqlitestore.At(path, sqlitestore.Existing())
	defer third.Close()
	sqlitestore.SetClock(third, clock)
	if got := now(third); !got.Equal(wall.Add(time.Hour)) {
		t.Errorf("opened an hour early, it says %v, want %v", got, wall.Add(time.Hour))
	}
}

func TestFileStaysBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keep = 50
		path := newFile(t)
		s := open(t, path, sqlitestore.Keep(keep))
		defer s.Close()
		minute := budget.Fixed(time.Minute, time.Time{})
		l := ledger(t, s,
			budget.Cap{For: budget.Each("run"), Meter: budget.MeterMoney, Limit: 1000, Per: budget.Lifetime()},
			budget.Cap{For: budget.Each("run"), Meter: budget.MeterTokens, Limit: 1000, Per: minute},
			budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 1000, Per: minute})
		for i := range 600 {
			run := budget.Scope{Kind: "run", Name: fmt.Sprint(i)}
			must(t, l.Define(t.Context(), "agent", budget.Cap{For: budget.One("run", run.Name), Meter: budget.MeterMoney, Limit: 500, Per: budget.Lifetime()}))
			id := "op/" + run.Name
			_, err := l.Reserve(t.Context(), budget.Request{ID: id, Amounts: budget.Amounts{NanoUSD: 5, Tokens: 5}, Scopes: []budget.Scope{run, {Kind: "tenant", Name: fmt.Sprint(i % 7)}}})
			must(t, err)
			_, err = l.Settle(t.Context(), id, budget.Amounts{NanoUSD: 1, Tokens: 1})
			must(t, err)
			if i%10 != 0 { // some runs are never forgotten
				must(t, l.Forget(t.Context(), run))
			}
			time.Sleep(10 * time.Minute)
		}
		r := raw(t, path)
		for table, most := range map[string]int64{"reservation": keep + 2, "count": 3*60 + 3*keep, "cap": 3 + 60 + keep + 2, "closed": 24*6 + 10, "change": 3} {
			if n, err := r.Number("SELECT count(*) FROM budget_" + table); err != nil || n > most || n == 0 {
				t.Errorf("budget_%s has %d rows, %v, want at most %d", table, n, err, most)
			}
		}
		caps, err := l.Caps(t.Context())
		must(t, err)
		if len(caps) != 3+60 {
			t.Errorf("the ledger knows %d caps", len(caps))
		}
	})
}

func TestEndedReservationsAreKeptForADayBeyondTheirWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := newFile(t)
		s := open(t, path)
		defer s.Close()
		l, err := budget.Open(t.Context(), budget.Config{Store: s, Caps: []budget.Cap{
			{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1000, Per: budget.Fixed(48*time.Hour, time.Now())}}})
		must(t, err)
		_, err = l.Reserve(t.Context(), money("a", 5))
		must(t, err)
		_, err = l.Settle(t.Context(), "a", budget.Amounts{NanoUSD: 5})
		must(t, err)
		r := raw(t, path)
		for _, step := range []struct {
			wait time.Duration
			kept int64
		}{{47 * time.Hour, 1}, {24 * time.Hour, 1}, {time.Hour + time.Second, 0}} {
			time.Sleep(step.wait)
			_, err := l.Sweep(t.Context(), 1)
			must(t, err)
			for _, table := range []string{"reservation", "count"} {
				if n, err := r.Number("SELECT count(*) FROM budget_" + table); err != nil || n != step.kept {
					t.Fatalf("after %v more budget_%s has %d rows, %v, want %d", step.wait, table, n, err, step.kept)
				}
			}
		}
	})
}
