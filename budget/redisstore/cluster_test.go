package redisstore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/budgettest"
	"github.com/redis/go-redis/v9"
)

// startCluster is one node that has all the slots, which checks keys as every node of a larger one does.
func startCluster(t *testing.T) *redis.ClusterClient {
	t.Helper()
	srv := startServer(t, "--cluster-enabled", "yes")
	c := srv.closing(t)
	if err := c.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if text := c.ClusterInfo(t.Context()).Val(); strings.Contains(text, "cluster_state:ok") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the cluster does not come up")
		}
	}
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{srv.addr}})
	t.Cleanup(func() { _ = cluster.Close() })
	return cluster
}

func TestAClusterTakesAllOperations(t *testing.T) {
	if testing.Short() {
		t.Skip("all of the suite again")
	}
	cluster := startCluster(t)
	if err := cluster.MSet(t.Context(), "a", 1, "b", 2).Err(); err == nil {
		t.Fatal("the node does not check slots")
	}
	budgettest.Exercise(t, func(*testing.T) budget.Store { return New(cluster, prefix()) },
		budgettest.Advance(func(s budget.Store, d time.Duration) { s.(*Store).ahead.Add(d.Microseconds()) }))
}

// A replica that was cut off becomes the server: what the other had acknowledged since is lost to it.
func TestAFailoverThatLosesTheTailIsNoticed(t *testing.T) {
	first, second := startServer(t, "--repl-diskless-sync-delay", "0"), startServer(t)
	ctx := t.Context()
	one, two := first.closing(t), second.closing(t)
	addr := first.addr
	host, port, _ := strings.Cut(addr, ":")
	if err := two.ReplicaOf(ctx, host, port).Err(); err != nil {
		t.Fatal(err)
	}
	now := one // what clients are sent to
	store := New(switched(func() Client { return now }), Learning(learnFor))
	defer store.Close()
	l := openLedger(t, store, moneyCap(budget.Account(), 100))
	take(t, l, "replicated", 30)
	settle(t, l, "replicated", 20)
	has := func() bool {
		books := one.HGet(ctx, "gridloop:{a.acct}:meta", "books").Val()
		return books != "" && two.HGet(ctx, "gridloop:{a.acct}:meta", "books").Val() == books
	}
	for deadline := time.Now().Add(20 * time.Second); !has(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is replicated")
		}
	}
	if err := two.ReplicaOf(ctx, "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	take(t, l, "lost", 40) // acknowledged, and never replicated
	settle(t, l, "lost", 35)
	take(t, l, "lost and open", 10)
	first.kill()
	now = two
	stranger := New(second.closing(t), Learning(learnFor))
	defer stranger.Close()
	fresh := openLedger(t, stranger)
	stands(t, fresh, 20, 0) // who was told nothing cannot know
	if err := reserveErr(t, l, "next", 1); !errors.Is(err, ErrLearning) || !errors.Is(err, budget.ErrUnavailable) {
		t.Fatalf("reserve after the failover: %v", err)
	}
	stands(t, fresh, 55, 10)
	if err := waitLearnt(t, fresh, "next", 36); !errors.Is(err, budget.ErrDenied) {
		t.Fatalf("what was lost was spent again: %v", err)
	}
	take(t, l, "rest", 35)
	settle(t, l, "lost and open", 10)
	stands(t, l, 65, 35)
}

// switched is a client that goes where it is sent.
type switched func() Client

func (s switched) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return s().EvalSha(ctx, sha, keys, args...)
}

func (s switched) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return s().Eval(ctx, script, keys, args...)
}
