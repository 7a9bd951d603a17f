package budgettest

import (
	"fmt"
	"time"

	"github.com/gridloop/gridloop/budget"
)

func topShowsSpenders(w *world) {
	own := moneyCap(budget.Each("tenant"), 10_000)
	l := w.ledger(own, moneyCap(budget.Account(), 4000))
	spend := func(tenant string, nano int64) string {
		id := w.take(l, nano, "tenant="+tenant, "instrument=x")
		w.settle(l, id, nano)
		return id
	}
	spend("small", 10)
	spend("big", 3000)
	w.take(l, 500, "tenant=big")
	_, err := l.Charge(w.ctx, w.take(l, 100, "tenant=middle"))
	w.ok(err)
	rows, err := l.Top(w.ctx, budget.TopQuery{By: "tenant", Limit: 2})
	w.ok(err)
	if len(rows) != 2 || rows[0].Scope.Name != "big" || rows[1].Scope.Name != "middle" {
		w.Fatalf("rows %+v", rows)
	}
	r := rows[0]
	// 3,500 in the first minute, 6,500 left: not quite two minutes.
	if r.Settled != 3000 || r.Held != 500 || r.Unconfirmed != 0 || r.Reservations != 2 || r.PerMinute != 3500 || r.Runway.Round(time.Second) != 111*time.Second || r.Cap != own.ID() {
		w.Fatalf("row %+v", r)
	}
	if rows[1].Unconfirmed != 100 {
		w.Fatalf("row %+v", rows[1])
	}
	rows, err = l.Top(w.ctx, budget.TopQuery{By: "instrument"})
	w.ok(err)
	if len(rows) != 1 || rows[0].Settled != 3010 || rows[0].Runway != budget.NoRunway || rows[0].Cap != "" {
		w.Fatalf("rows %+v", rows)
	}
	rows, err = l.Top(w.ctx, budget.TopQuery{By: "account"})
	w.ok(err)
	if len(rows) != 1 || rows[0].Settled != 3110 || rows[0].Held != 500 || rows[0].Cap == "" {
		w.Fatalf("rows %+v", rows)
	}
	_, err = l.Top(w.ctx, budget.TopQuery{By: "galaxy"})
	w.wants(err, budget.ErrInvalid)
	now := time.Now()
	_, err = l.Top(w.ctx, budget.TopQuery{By: "tenant", Since: now, Until: now})
	w.wants(err, budget.ErrInvalid)
}

// Times that share an edge share no reservation and lose none: whatever the edge, both sides add up.
func topLooksAtATime(w *world) {
	l := w.ledger(moneyCap(budget.Account(), 1_000_000))
	ids := []string{}
	for range 4 {
		ids = append(ids, w.take(l, 100, "instrument=x"))
		w.pass(20 * time.Millisecond)
	}
	open, err := l.OpenReservations(w.ctx, "")
	w.ok(err)
	admitted := map[string]time.Time{}
	for _, r := range open {
		admitted[r.ID] = r.Admitted
	}
	w.settle(l, ids[0], 40)
	sum := func(since, until time.Time) string {
		rows, err := l.Top(w.ctx, budget.TopQuery{By: "instrument", Since: since, Until: until})
		w.ok(err)
		if len(rows) == 0 {
			return "none"
		}
		return fmt.Sprint(rows[0].Settled, rows[0].Held, rows[0].Reservations)
	}
	first, third := admitted[ids[0]], admitted[ids[2]]
	for _, test := range []struct {
		name         string
		since, until time.Time
		want         string
	}{
		{"all", first, noTime, "40 300 4"},
		{"before the first", first.Add(-time.Hour), first, "none"},
		{"up to the third, which it excludes", first, third, "40 100 2"},
		{"from the third on", third, noTime, "0 200 2"},
		{"an hour before the third", noTime, third, "40 100 2"},
		{"what is to come", time.Now().Add(time.Hour), noTime, "none"},
	} {
		if got := sum(test.since, test.until); got != test.want {
			w.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}
