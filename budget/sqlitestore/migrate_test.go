package sqlitestore_test

import (
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/sqlitestore"
)

// schema1.sql is what the last program of schema 1 left: one call settled above its bound, one charged, one open.
func TestFilesOfSchemaOneAreMigratedWithAllTheyCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC))) // minutes after the file was left
		path := newFile(t)
		dump, err := os.ReadFile("testdata/schema1.sql")
		must(t, err)
		old, err := sqlitestore.Dial(path)
		must(t, err)
		must(t, old.Exec("PRAGMA journal_mode = wal"))
		must(t, old.Exec(string(dump)))
		if n, err := old.Number("SELECT schema FROM budget_meta"); err != nil || n != 1 {
			t.Fatalf("schema %d, %v", n, err)
		}
		must(t, old.Close())
		s := open(t, path, sqlitestore.Existing())
		defer s.Close()
		if got, err := sqlitestore.Ask(t.Context(), s, "SELECT schema FROM budget_meta"); err != nil || got != "3" || sqlitestore.Schema() != 3 {
			t.Fatalf("schema %s, %v", got, err)
		}
		acme := budget.Scope{Kind: "tenant", Name: "acme/1 ä"}
		l := ledger(t, s)
		stand := func(settled, held, unconfirmed, overrun int64) {
			t.Helper()
			states, err := l.Snapshot(t.Context(), acme)
			must(t, err)
			for _, c := range states {
				if c.Settled != settled || c.Held != held || c.Unconfirmed != unconfirmed || c.Overrun != overrun {
					t.Fatalf("stands at %+v", c)
				}
			}
			if len(states) != 2 {
				t.Fatalf("caps %+v", states)
			}
		}
		stand(170, 40, 50, 20)
		settled, err := l.Settle(t.Context(), "open", budget.Amounts{NanoUSD: 40})
		must(t, err)
		if settled.Late || settled.Left[0].Settled != 210 {
			t.Fatalf("settled %+v", settled)
		}
		_, err = l.TrueUp(t.Context(), "charged", budget.Amounts{NanoUSD: 10}, "receipt")
		must(t, err)
		stand(170, 0, 0, 20)
		freezes, err := l.Freezes(t.Context())
		must(t, err)
		changes, err := l.Changes(t.Context())
		must(t, err)
		if len(freezes) != 1 || len(changes) != 3 {
			t.Fatalf("freezes %v, changes %v", freezes, changes)
		}
		// What is new works beside what is old.
		rolling := budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 50, Per: budget.Rolling(24 * time.Hour)}
		must(t, l.Define(t.Context(), "ann", rolling))
		_, err = l.Reserve(t.Context(), budget.Request{ID: "new", Scopes: []budget.Scope{acme}, Amounts: budget.Amounts{NanoUSD: 30}})
		must(t, err)
		_, err = l.Settle(t.Context(), "new", budget.Amounts{NanoUSD: 25})
		must(t, err)
		if got, err := sqlitestore.Ask(t.Context(), s, "SELECT buckets FROM budget_count WHERE buckets IS NOT NULL"); err != nil || got != "1795445280000:25" {
			t.Fatalf("buckets %q, %v", got, err)
		}
	})
}

// schema2.sql is what the last program of schema 2 left: 10 used of 100, 60 kept back and a call of 30.
func TestFilesOfSchemaTwoAreMigratedWithWhatIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := newFile(t)
		dump, err := os.ReadFile("testdata/schema2.sql")
		must(t, err)
		old, err := sqlitestore.Dial(path)
		must(t, err)
		must(t, old.Exec("PRAGMA journal_mode = wal"))
		must(t, old.Exec(string(dump)))
		must(t, old.Close())
		s := open(t, path, sqlitestore.Existing())
		defer s.Close()
		l := ledger(t, s)
		stand := func(settled, held int64) {
			t.Helper()
			states, err := l.Snapshot(t.Context())
			must(t, err)
			if len(states) != 1 || states[0].Settled != settled || states[0].Held != held {
				t.Fatalf("stands at %+v", states)
			}
		}
		stand(10, 90)
		call := money("call", 60)
		call.From = "kept"
		_, err = l.Reserve(t.Context(), call)
		must(t, err)
		_, err = l.Settle(t.Context(), "open", budget.Amounts{NanoUSD: 5})
		must(t, err)
		_, err = l.Settle(t.Context(), "call", budget.Amounts{NanoUSD: 20})
		must(t, err)
		stand(35, 40)
		must(t, l.Release(t.Context(), "kept"))
		stand(35, 0)
	})
}

// What was drawn outlives the program, and is not believed if nobody wrote it.
func TestDrawsOutliveTheStore(t *testing.T) {
	path := newFile(t)
	kept, call := money("kept", 60), money("call", 50)
	kept.Idle, call.From = true, "kept"
	limit := budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 100, Per: budget.Lifetime()}
	for _, r := range []budget.Request{kept, call} {
		s := open(t, path)
		_, err := ledger(t, s, limit).Reserve(t.Context(), r)
		must(t, err)
		must(t, s.Close())
	}
	r := raw(t, path)
	must(t, r.Exec("UPDATE budget_reservation SET taken = 'fifty' WHERE id = 'call'"))
	s := open(t, path)
	defer s.Close()
	l := ledger(t, s)
	if _, err := l.Settle(t.Context(), "call", budget.Amounts{NanoUSD: 20}); !errors.Is(err, sqlitestore.ErrDamaged) {
		t.Fatalf("settle: %v", err)
	}
	must(t, r.Exec("UPDATE budget_reservation SET taken = 'money=50' WHERE id = 'call'"))
	settled, err := l.Settle(t.Context(), "call", budget.Amounts{NanoUSD: 20})
	must(t, err)
	if left := settled.Left[0]; left.Settled != 20 || left.Held != 40 {
		t.Fatalf("settled %+v", left)
	}
	if got, err := sqlitestore.Ask(t.Context(), s, "SELECT actual || coalesce(taken, ' ') || allowance FROM budget_reservation ORDER BY id LIMIT 1"); err != nil || got != "money=20 kept" {
		t.Fatalf("the call reads %q, %v", got, err)
	}
}

func TestDamagedBucketsAreNotBelieved(t *testing.T) {
	path := newFile(t)
	s := open(t, path)
	defer s.Close()
	l := ledger(t, s, budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 50, Per: budget.Rolling(24 * time.Hour)})
	_, err := l.Reserve(t.Context(), money("a", 30))
	must(t, err)
	_, err = l.Settle(t.Context(), "a", budget.Amounts{NanoUSD: 25})
	must(t, err)
	r := raw(t, path)
	for _, text := range []string{"", "1", "1:", "1:0", "-1:5", "1:5:6", "1:5 1:5", "2:5 1:5", "9223372036854775807:5", "1:5  2:5", "1:-5"} {
		must(t, r.Exec("UPDATE budget_count SET buckets = '"+text+"'"))
		if _, err := l.Reserve(t.Context(), money("b", 1)); !errors.Is(err, sqlitestore.ErrDamaged) {
			t.Errorf("%q: reserve: %v", text, err)
		}
		if _, err := l.Snapshot(t.Context()); !errors.Is(err, sqlitestore.ErrDamaged) {
			t.Errorf("%q: snapshot: %v", text, err)
		}
	}
}

// What is not touched any more goes with the last reservation that is kept of it.
func TestRollingCountsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, newFile(t))
		defer s.Close()
		l := ledger(t, s, budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 50, Per: budget.Rolling(10 * time.Hour)})
		for _, tenant := range []string{"a", "b", "c"} {
			_, err := l.Reserve(t.Context(), budget.Request{ID: tenant, Scopes: []budget.Scope{{Kind: "tenant", Name: tenant}}, Amounts: budget.Amounts{NanoUSD: 30}})
			must(t, err)
			_, err = l.Settle(t.Context(), tenant, budget.Amounts{NanoUSD: 20})
			must(t, err)
		}
		for _, step := range []struct {
			wait time.Duration
			left string
		}{{11 * time.Hour, "3"}, {23 * time.Hour, "3"}, {2 * time.Hour, "0"}} { // ten hours, a bucket, and a day for late receipts
			time.Sleep(step.wait)
			_, err := l.Sweep(t.Context(), 10)
			must(t, err)
			if got, err := sqlitestore.Ask(t.Context(), s, "SELECT count(*) FROM budget_count"); err != nil || got != step.left {
				t.Fatalf("%v later there are %s counts, want %s, %v", step.wait, got, step.left, err)
			}
		}
	})
}
