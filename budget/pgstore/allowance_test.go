package pgstore

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// What is new in schema 2 is two columns, so tables without them are as the last program of schema 1 left them.
func TestTablesOfSchemaOneAreMigratedWithWhatIsKept(t *testing.T) {
	before := closing(t, fresh(t))
	l := ledger(t, before, crashCap(100))
	kept := money("kept", 60)
	kept.Idle = true
	for _, r := range []budget.Request{kept, money("open", 30)} {
		_, err := l.Reserve(t.Context(), r)
		must(t, err)
	}
	must(t, before.Close())
	s := closing(t, At(startServer(t).dsn(), Schema(before.schema), Timeout(patience)))
	before.exec(t, "ALTER TABLE @reservation DROP COLUMN allowance, DROP COLUMN taken")
	before.exec(t, "UPDATE @meta SET schema = 1")
	l = ledger(t, s)
	call := money("call", 70)
	call.From = "kept"
	_, err := l.Reserve(t.Context(), call)
	must(t, err)
	_, err = l.Settle(t.Context(), "open", budget.Amounts{NanoUSD: 5})
	must(t, err)
	_, err = l.Settle(t.Context(), "call", budget.Amounts{NanoUSD: 25})
	must(t, err)
	states, err := l.Snapshot(t.Context())
	must(t, err)
	if states[0].Settled != 30 || states[0].Held != 45 { // 10 of the 70 came from the cap, and 45 of the 60 return
		t.Errorf("stands at %+v", states[0])
	}
	if n := s.number(t, "SELECT schema FROM @meta"); n != 2 || len(migrations) != 2 {
		t.Errorf("schema %d", n)
	}
}

// Processes draw from the same allowances and settle what others have drawn: all of it returns where it came from, and nobody
// waits for another who waits for him.
func TestDrawsThatOthersSettleReturnWithoutADeadlock(t *testing.T) {
	const stores, outers, draws, rounds = 3, 3, 6, 3
	schema := schemaName()
	limit := budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: outers * 1000, Per: budget.Lifetime()}
	var ledgers []*budget.Ledger
	for range stores {
		ledgers = append(ledgers, ledger(t, closing(t, At(startServer(t).dsn(), Schema(schema), Timeout(patience))), limit))
	}
	deadlocks := startServer(t).deadlocks(t)
	keep := func(id string, nano int64, from string) {
		r := money(id, nano)
		r.Idle, r.From, r.Lease = true, from, time.Hour
		_, err := ledgers[0].Reserve(t.Context(), r)
		must(t, err)
	}
	for o := range outers { // names in the order in which they are locked, and against it
		keep(fmt.Sprint("m", o), 1000, "")
	}
	for round := range rounds {
		for o := range outers {
			keep(fmt.Sprint("a", o, "/", round), 300, fmt.Sprint("m", o))
			keep(fmt.Sprint("z", o, "/", round), 300, fmt.Sprint("m", (o+1)%outers))
		}
		each := func(do func(l *budget.Ledger, id, from string) error, shift int) {
			var wg sync.WaitGroup
			for s := range stores {
				for o := range outers {
					for _, kind := range []string{"a", "m", "z"} {
						for i := range draws {
							from := fmt.Sprint(kind, o)
							if kind != "m" {
								from += fmt.Sprint("/", round)
							}
							wg.Go(func() {
								id := fmt.Sprint([]string{"b", "y"}[i%2], round, "/", s, "/", from, "/", i)
								if err := do(ledgers[(s+shift)%stores], id, from); err != nil {
									t.Errorf("%s: %v", id, err)
								}
							})
						}
					}
				}
			}
			wg.Wait()
		}
		each(func(l *budget.Ledger, id, from string) error {
			r := money(id, 10)
			r.From = from
			_, err := l.Reserve(t.Context(), r)
			return err
		}, 0)
		each(func(l *budget.Ledger, id, _ string) error {
			_, err := l.Settle(t.Context(), id, budget.Amounts{NanoUSD: 1})
			return err
		}, 1)
		var wg sync.WaitGroup
		for o := range outers {
			for i, kind := range []string{"a", "z"} {
				wg.Go(func() {
					if err := ledgers[(o+i+1)%stores].Release(t.Context(), fmt.Sprint(kind, o, "/", round)); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
	}
	const used = stores * 3 * draws * rounds // of each outer one
	open, err := ledgers[0].OpenReservations(t.Context(), "")
	must(t, err)
	if len(open) != outers {
		t.Errorf("%d are open, want the outer ones", len(open))
	}
	for _, r := range open {
		if r.Actual.NanoUSD != used {
			t.Errorf("%v are drawn from %s, want %d", r.Actual, r.ID, used)
		}
	}
	states, err := ledgers[0].Snapshot(t.Context())
	must(t, err)
	if s := states[0]; s.Settled != used*outers || s.Settled+s.Held != s.Limit {
		t.Errorf("stands at %+v", s)
	}
	if after := startServer(t).deadlocks(t); after != deadlocks {
		t.Errorf("%d deadlocks", after-deadlocks)
	}
}

// A lease that runs out is swept by a process that does not know what it was taken from.
func TestWhatSomebodyElseKeptReturnsWhenItsLeaseIsOver(t *testing.T) {
	schema, clock := schemaName(), stopped(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	var ledgers []*budget.Ledger
	for range 2 {
		s := closing(t, At(startServer(t).dsn(), Schema(schema), Timeout(patience)))
		s.clock = clock.now
		ledgers = append(ledgers, ledger(t, s, crashCap(100)))
	}
	keep := func(id string, nano int64, lease time.Duration, from string) {
		r := money(id, nano)
		r.Idle, r.From, r.Lease = true, from, lease
		_, err := ledgers[0].Reserve(t.Context(), r)
		must(t, err)
	}
	keep("kept", 60, time.Hour, "")
	for i := range 4 {
		keep(fmt.Sprint("answer ", i), 10, time.Minute, "kept")
	}
	clock.pass(2 * time.Minute)
	swept, err := ledgers[1].Sweep(t.Context(), 10)
	must(t, err)
	open, err := ledgers[1].OpenReservations(t.Context(), "")
	must(t, err)
	if len(swept.Expired) != 4 || len(open) != 1 || !open[0].Actual.IsZero() {
		t.Errorf("swept %v, open %+v", swept.Expired, open)
	}
	states, err := ledgers[1].Snapshot(t.Context())
	must(t, err)
	if states[0].Held != 60 {
		t.Errorf("stands at %+v", states[0])
	}
}
