package redisstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/redis/go-redis/v9"
)

func moneyCap(target budget.Target, limit int64) budget.Cap {
	return budget.Cap{For: target, Meter: budget.MeterMoney, Limit: limit, Per: budget.Day(nil)}
}

func openLedger(t testing.TB, store budget.Store, caps ...budget.Cap) *budget.Ledger {
	t.Helper()
	l, err := budget.Open(t.Context(), budget.Config{Store: store, Caps: caps, Account: "acct", Lease: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func take(t testing.TB, l *budget.Ledger, id string, nano int64) {
	t.Helper()
	if _, err := l.Reserve(t.Context(), budget.Request{ID: id, Amounts: budget.Amounts{NanoUSD: nano}}); err != nil {
		t.Fatalf("reserve %s: %v", id, err)
	}
}

func settle(t testing.TB, l *budget.Ledger, id string, nano int64) {
	t.Helper()
	if _, err := l.Settle(t.Context(), id, budget.Amounts{NanoUSD: nano}); err != nil {
		t.Fatalf("settle %s: %v", id, err)
	}
}

func stands(t testing.TB, l *budget.Ledger, settled, held int64) {
	t.Helper()
	states, err := l.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(states) != 1 || states[0].Settled != settled || states[0].Held != held {
		t.Fatalf("stands at %+v, want %d settled and %d held", states, settled, held)
	}
}

func reserveErr(t testing.TB, l *budget.Ledger, id string, nano int64) error {
	t.Helper()
	_, err := l.Reserve(t.Context(), budget.Request{ID: id, Amounts: budget.Amounts{NanoUSD: nano}})
	return err
}

// waitLearnt waits until the server's own clock has passed the end of learning.
func waitLearnt(t testing.TB, l *budget.Ledger, id string, nano int64) error {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err := reserveErr(t, l, id, nano); !errors.Is(err, ErrLearning) {
			return err
		}
	}
	t.Fatal("learning does not end")
	return nil
}

const learnFor = 300 * time.Millisecond

func TestBooksThatWereFlushedLearnWhatProcessesKnow(t *testing.T) {
	srv := startServer(t)
	c := srv.closing(t)
	one, two := New(srv.closing(t), Learning(learnFor)), New(srv.closing(t), Learning(learnFor))
	defer one.Close()
	defer two.Close()
	a, b := openLedger(t, one, moneyCap(budget.Account(), 100)), openLedger(t, two)
	take(t, a, "a1", 30)
	settle(t, a, "a1", 20)
	take(t, a, "a2", 25)
	take(t, b, "b1", 40)
	if err := c.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	// A process that knows nothing is first, and begins the account anew.
	three := New(srv.closing(t), Learning(learnFor))
	defer three.Close()
	fresh := openLedger(t, three, moneyCap(budget.Account(), 100))
	stands(t, fresh, 0, 0)
	// Whoever knows better stops it.
	err := reserveErr(t, a, "a3", 1)
	if !errors.Is(err, ErrLearning) || !errors.Is(err, budget.ErrUnavailable) {
		t.Fatalf("reserve after the flush: %v", err)
	}
	if err := reserveErr(t, fresh, "c1", 1); !errors.Is(err, ErrLearning) {
		t.Fatalf("reserve elsewhere after the flush: %v", err)
	}
	stands(t, a, 20, 25)
	settle(t, b, "b1", 35) // what is in flight settles
	stands(t, b, 55, 25)
	if err := waitLearnt(t, fresh, "c1", 21); !errors.Is(err, budget.ErrHeld) {
		t.Fatalf("reserve of more than is left, after learning: %v", err)
	}
	take(t, fresh, "c2", 20)
	settle(t, a, "a2", 25)
	stands(t, a, 80, 20)
}

func TestBooksThatWentBackInTimeLearn(t *testing.T) {
	srv := startServer(t)
	c := srv.closing(t)
	store := New(c, Learning(learnFor))
	defer store.Close()
	l := openLedger(t, store, moneyCap(budget.Account(), 100))
	take(t, l, "1", 30)
	if err := c.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	settle(t, l, "1", 30)
	take(t, l, "2", 60)
	srv.kill() // a failover to a replica that was behind looks the same
	srv.start()
	if err := reserveErr(t, l, "3", 30); !errors.Is(err, ErrLearning) {
		t.Fatalf("reserve on older books: %v", err)
	}
	if err := waitLearnt(t, l, "3", 30); !errors.Is(err, budget.ErrDenied) {
		t.Fatalf("the lost spending was spent again: %v", err)
	}
	settle(t, l, "2", 60)
}

func TestWhatWasNeverGrantedIsNotTaught(t *testing.T) {
	srv := startServer(t)
	c := srv.closing(t)
	store := New(c, Learning(learnFor))
	defer store.Close()
	l := openLedger(t, store, moneyCap(budget.Account(), 100))
	take(t, l, "1", 90)
	if err := c.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := reserveErr(t, l, "2", 50); !errors.Is(err, ErrLearning) {
		t.Fatal(err)
	}
	if err := waitLearnt(t, l, "2", 50); !errors.Is(err, budget.ErrHeld) {
		t.Fatalf("a reserve that found the books empty: %v", err)
	}
}

func TestServersThatWouldLoseMoneyAreRefused(t *testing.T) {
	srv := startServer(t)
	c := srv.closing(t)
	ctx := t.Context()
	s, err := Open(ctx, c, Prefix("ok"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Traits().MaxLimit != MaxLimit || s.Traits().Forgets || s.Traits().Local {
		t.Errorf("traits %+v", s.Traits())
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if _, err := s.Freezes(ctx, "default"); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}
	if _, err := Open(ctx, c, Prefix("new"), Existing()); !errors.Is(err, ErrMissing) {
		t.Errorf("no books: %v", err)
	}
	if again, err := Open(ctx, c, Prefix("ok"), Existing()); err != nil {
		t.Errorf("books that exist: %v", err)
	} else if err := again.Close(); err != nil {
		t.Error(err)
	}
	if err := c.HSet(ctx, "ok:{a.default}:meta", "schema", "7").Err(); err != nil {
		t.Fatal(err)
	}
	var old *SchemaError
	if _, err := Open(ctx, c, Prefix("ok")); !errors.As(err, &old) || old.Have != 7 || old.Want != schema {
		t.Errorf("another schema: %v", err)
	}
	if err := c.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru").Err(); err != nil {
		t.Fatal(err)
	}
	var evicts *EvictionError
	if _, err := Open(ctx, c, Prefix("lru")); !errors.As(err, &evicts) || evicts.Policy != "allkeys-lru" {
		t.Errorf("a server that evicts: %v", err)
	}
	if keys := c.Keys(ctx, "lru*").Val(); len(keys) > 0 {
		t.Errorf("refused, and wrote %v", keys)
	}
	down := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	defer down.Close()
	if _, err := Open(ctx, down); err == nil {
		t.Error("no server, and no error")
	}
	_, err = budget.Open(ctx, budget.Config{Store: New(down), Caps: []budget.Cap{moneyCap(budget.Account(), 1)}})
	if !errors.Is(err, budget.ErrUnavailable) {
		t.Errorf("a ledger without its server: %v", err)
	}
}

func TestNumbersThatAreNotExactAreRefused(t *testing.T) {
	srv := startServer(t)
	store := New(srv.closing(t))
	defer store.Close()
	_, err := budget.Open(t.Context(), budget.Config{Store: store, Caps: []budget.Cap{moneyCap(budget.Account(), MaxLimit+1)}})
	if !errors.Is(err, budget.ErrInvalid) {
		t.Errorf("a limit above 2^53: %v", err)
	}
	if _, err := store.Define(t.Context(), "acct", "test", []budget.Cap{moneyCap(budget.Account(), MaxLimit+1)}); !errors.Is(err, budget.ErrInvalid) {
		t.Errorf("a limit above 2^53: %v", err)
	}
	l := openLedger(t, store, moneyCap(budget.Account(), MaxLimit))
	if err := reserveErr(t, l, "big", MaxLimit+1); !errors.Is(err, budget.ErrInvalid) {
		t.Errorf("an amount above 2^53: %v", err)
	}
	take(t, l, "most", MaxLimit-1)
	take(t, l, "one", 1)
	if err := reserveErr(t, l, "more", 1); !errors.Is(err, budget.ErrHeld) {
		t.Errorf("one above 2^53: %v", err)
	}
	settle(t, l, "most", MaxLimit-3)
	stands(t, l, MaxLimit-3, 1)
	if _, err := l.Settle(t.Context(), "one", budget.Amounts{NanoUSD: MaxLimit + 1}); !errors.Is(err, budget.ErrInvalid) {
		t.Errorf("usage above 2^53: %v", err)
	}
	settle(t, l, "one", 100) // past the end of what is counted: stays there
	stands(t, l, MaxLimit+1, 0)
}

// faulty is a client whose answers can be lost after the server has done its work.
type faulty struct {
	Client
	lose func() bool
}

var errLost = errors.New("connection reset")

func (f faulty) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return f.cut(f.Client.EvalSha(ctx, sha, keys, args...))
}

func (f faulty) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return f.cut(f.Client.Eval(ctx, script, keys, args...))
}

func (f faulty) cut(cmd *redis.Cmd) *redis.Cmd {
	if cmd.Err() == nil && f.lose() {
		cmd.SetErr(errLost)
	}
	return cmd
}

func TestALostAnswerIsAskedForAgain(t *testing.T) {
	srv := startServer(t)
	lose := false
	store := New(faulty{srv.closing(t), func() bool { return lose }})
	defer store.Close()
	l := openLedger(t, store, moneyCap(budget.Account(), 100))
	lose = true
	if err := reserveErr(t, l, "1", 60); !errors.Is(err, budget.ErrUnavailable) || !errors.Is(err, errLost) {
		t.Fatalf("lost: %v", err)
	}
	lose = false
	g, err := l.Reserve(t.Context(), budget.Request{ID: "1", Amounts: budget.Amounts{NanoUSD: 60}})
	if err != nil || !g.Duplicate {
		t.Fatalf("again: %+v, %v", g, err)
	}
	lose = true
	if _, err := l.Settle(t.Context(), "1", budget.Amounts{NanoUSD: 50}); !errors.Is(err, budget.ErrUnavailable) {
		t.Fatalf("lost: %v", err)
	}
	lose = false
	s, err := l.Settle(t.Context(), "1", budget.Amounts{NanoUSD: 50})
	if err != nil || !s.Duplicate {
		t.Fatalf("again: %+v, %v", s, err)
	}
	stands(t, l, 50, 0)
}

func TestAScriptThatTheServerForgotIsSentAgain(t *testing.T) {
	srv := startServer(t)
	c := srv.closing(t)
	store := New(c)
	defer store.Close()
	l := openLedger(t, store, moneyCap(budget.Account(), 100))
	take(t, l, "1", 10)
	if err := c.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	take(t, l, "2", 10)
	stands(t, l, 0, 20)
}

func TestALeaseThatIsReleasedInsteadOfChargedIsFound(t *testing.T) {
	srv := startServer(t)
	store := New(srv.closing(t))
	store.releases = true
	defer store.Close()
	if b := crashes(t, store); b.True <= b.Limit {
		t.Fatalf("billed %d of %d: a store that gives crashed calls back was not found out", b.True, b.Limit)
	}
}

func TestACallerThatLeavesDoesNotWait(t *testing.T) {
	srv := startServer(t)
	c := srv.closing(t)
	store := New(c, Timeout(3*time.Second))
	l := openLedger(t, store, moneyCap(budget.Account(), 100))
	if err := c.ClientPause(t.Context(), 300*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	from := time.Now()
	_, err := l.Reserve(ctx, budget.Request{ID: "1", Amounts: budget.Amounts{NanoUSD: 10}})
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, budget.ErrUnavailable) || time.Since(from) > 250*time.Millisecond {
		t.Fatalf("after %v: %v", time.Since(from), err)
	}
	if err := store.Close(); err != nil { // waits for what is under way
		t.Fatal(err)
	}
}

func TestEveryKeyIsDeclaredUnderOneTag(t *testing.T) {
	srv := startServer(t)
	c := srv.closing(t)
	store := New(c)
	defer store.Close()
	l, err := budget.Open(t.Context(), budget.Config{Store: store, Account: "odd{}name}", Caps: []budget.Cap{moneyCap(budget.Account(), 100)}})
	if err != nil {
		t.Fatal(err)
	}
	take(t, l, "1", 10)
	keys := c.Keys(t.Context(), "*").Val()
	slots := map[int64]bool{}
	for _, key := range keys {
		slots[c.ClusterKeySlot(t.Context(), key).Val()] = true
	}
	if len(keys) < 5 || len(slots) > 1 {
		t.Fatalf("%d slots for %q", len(slots), keys)
	}
}
