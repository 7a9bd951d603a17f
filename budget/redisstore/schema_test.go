package redisstore

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// oldSchemas are the forms of books of versions before, and a time within the lease of what is open in them.
var oldSchemas = []struct {
	name string
	at   time.Time
}{
	{"schema2", time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)},
	{"schema3", time.Date(2026, 11, 23, 18, 35, 0, 0, time.UTC)},
}

// oldBooks is a server with books as a version before kept them. They say: account "acct", tenant "a b", run "r1", one reservation open, one settled, one charged, one that a receipt corrected.
func oldBooks(t *testing.T, name string, at time.Time) (*server, *Store) {
	srv := startServer(t)
	srv.kill()
	books, err := os.ReadFile(filepath.Join("testdata", name+".rdb"))
	if err != nil {
		t.Fatal(err)
	}
	dir := srv.args[slices.Index(srv.args, "--dir")+1]
	if err := os.WriteFile(filepath.Join(dir, "dump.rdb"), books, 0o600); err != nil {
		t.Fatal(err)
	}
	srv.start()
	store := New(srv.closing(t))
	store.ahead.Store(time.Until(at).Microseconds())
	return srv, store
}

func TestBooksOfOldSchemasAreReadAndBroughtToThisOne(t *testing.T) {
	for _, old := range oldSchemas {
		t.Run(old.name, func(t *testing.T) {
			srv, store := oldBooks(t, old.name, old.at)
			oldBooksAreRead(t, srv, store, strings.TrimPrefix(old.name, "schema"))
		})
	}
}

func oldBooksAreRead(t *testing.T, srv *server, store *Store, have string) {
	defer store.Close()
	l := openLedger(t, store)
	scopes := []budget.Scope{{Kind: "tenant", Name: "a b"}, {Kind: "run", Name: "r1"}}
	type sums struct{ settled, held, unconfirmed, overrun int64 }
	stand := func(want map[string]sums) {
		t.Helper()
		states, err := l.Snapshot(t.Context(), scopes...)
		if err != nil || len(states) != 3 {
			t.Fatalf("%+v, %v", states, err)
		}
		for _, s := range states {
			if got := (sums{s.Settled, s.Held, s.Unconfirmed, s.Overrun}); got != want[s.Cap] {
				t.Errorf("%s stands at %+v, want %+v", s.Cap, got, want[s.Cap])
			}
		}
	}
	stand(map[string]sums{"account money rolling 7200h": {352, 100, 50, 2}, "each tenant money lifetime": {352, 100, 50, 2}, "each run custom:mails lifetime": {1, 2, 0, 0}})
	meta := func(field string) string {
		return srv.closing(t).HGet(t.Context(), "gridloop:{a.acct}:meta", field).Val()
	}
	if meta("schema") != have {
		t.Fatal("looking changed the schema")
	}
	open, err := store.Open(t.Context(), "acct", "")
	if err != nil || len(open) != 1 || open[0].ID != "open" || open[0].Reserved.NanoUSD != 100 || open[0].Reserved.Get(budget.Custom("mails")) != 2 || len(open[0].Scopes) != 3 {
		t.Fatalf("open %+v, %v", open, err)
	}
	top, err := l.Top(t.Context(), budget.TopQuery{By: "tenant", For: 300 * 24 * time.Hour})
	if err != nil || len(top) != 1 || top[0].Settled != 352 || top[0].Held != 100 || top[0].Scope.Name != "a b" {
		t.Fatalf("top %+v, %v", top, err)
	}
	// Duplicates and mismatches of then are known, and everything goes on.
	if s, err := l.Settle(t.Context(), "settled", budget.Amounts{NanoUSD: 260, Tokens: 5}.With(budget.Custom("mails"), 1)); err != nil || !s.Duplicate {
		t.Fatalf("%+v, %v", s, err)
	}
	if _, err := l.Settle(t.Context(), "settled", budget.Amounts{NanoUSD: 261}); !errors.Is(err, budget.ErrMismatch) {
		t.Fatalf("another settlement: %v", err)
	}
	if _, err := l.TrueUp(t.Context(), "trued", budget.Amounts{NanoUSD: 43}, "receipt"); !errors.Is(err, budget.ErrMismatch) {
		t.Fatalf("another receipt of one source: %v", err)
	}
	if _, err := l.TrueUp(t.Context(), "charged", budget.Amounts{NanoUSD: 20}, "receipt"); err != nil {
		t.Fatal(err)
	}
	r := budget.Request{ID: "new", Scopes: scopes, Amounts: budget.Amounts{NanoUSD: 79}}
	if _, err := l.Reserve(t.Context(), r); !errors.Is(err, budget.ErrHeld) {
		t.Fatalf("more than is left: %v", err)
	}
	r.Amounts.NanoUSD = 78
	if _, err := l.Reserve(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Settle(t.Context(), "open", budget.Amounts{NanoUSD: 100}.With(budget.Custom("mails"), 2)); err != nil {
		t.Fatal(err)
	}
	stand(map[string]sums{"account money rolling 7200h": {422, 78, 0, 2}, "each tenant money lifetime": {422, 78, 0, 2}, "each run custom:mails lifetime": {3, 0, 0, 0}})
	if meta("schema") != "4" || meta("books") == "" || meta("epoch") != "" {
		t.Fatalf("schema %s", meta("schema"))
	}
	if n := srv.closing(t).HLen(t.Context(), "gridloop:{a.acct}:counts").Val(); n != 3 {
		t.Errorf("%d counts: those of then are still there, too", n)
	}
}

func TestOldReservationsAndCountsAreForgottenInTime(t *testing.T) {
	for _, old := range oldSchemas {
		t.Run(old.name, func(t *testing.T) { oldBooksAreForgotten(t, old.name, old.at) })
	}
}

func oldBooksAreForgotten(t *testing.T, name string, at time.Time) {
	srv, store := oldBooks(t, name, at)
	defer store.Close()
	l := openLedger(t, store)
	store.ahead.Add((2 * 366 * 24 * time.Hour).Microseconds())
	for range 2 {
		if _, err := l.Sweep(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
	}
	c := srv.closing(t)
	// Lifetimes are forever; what rolled is gone.
	for key, want := range map[string]int64{"rows": 0, "counts": 2, "ids": 2} {
		if n := c.HLen(t.Context(), "gridloop:{a.acct}:"+key).Val(); n != want {
			t.Errorf("%d %s, want %d", n, key, want)
		}
	}
}
