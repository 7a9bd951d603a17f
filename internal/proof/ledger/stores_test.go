package ledger

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/redisstore"
	"github.com/gridloop/gridloop/budget/sqlitestore"
)

// kind is a kind of store. A new one is a line of kinds, and takes part in every proof.
type kind struct {
	name string
	// virtual says that its clock is time.Now and that it runs in testing/synctest.
	virtual bool
	// place makes an empty one and answers its address.
	place func(t testing.TB) string
	// open is one more replica at an address.
	open func(address string) budget.Store
}

var kinds = []kind{
	{"memory", true, newMemory, func(address string) budget.Store { return memories[address] }},
	{"sqlite", true, newFile, func(address string) budget.Store { return sqlitestore.At(address, sqlitestore.Busy(patience)) }},
	{"redis", false, newRedis, func(address string) budget.Store { return openRedis(address) }},
	{"postgres", false, newPostgres, openPostgres},
}

// shared are the kinds that outlive a process.
func shared() []kind { return kinds[1:] }

var memories = map[string]budget.Store{}

func newMemory(t testing.TB) string {
	memories[t.Name()] = budget.NewMemory(budget.Volatile())
	t.Cleanup(func() { delete(memories, t.Name()) })
	return t.Name()
}

func newFile(t testing.TB) string { return filepath.Join(t.TempDir(), "spend.db") }

// newRedis starts a server of the test's own, on loopback, in a directory of its own.
func newRedis(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("GRIDLOOP_REQUIRE") != "" {
			t.Fatal("redis-server is not installed: apt-get install redis-server")
		}
		t.Skip("redis-server is not installed: apt-get install redis-server")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "")
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	client := redis.NewClient(&redis.Options{Addr: address})
	defer client.Close()
	for deadline := time.Now().Add(20 * time.Second); client.Ping(context.Background()).Err() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server does not answer")
		}
	}
	return address
}

// remote is a store with the connection that it does not own.
type remote struct {
	budget.Store
	client *redis.Client
}

func openRedis(address string) budget.Store {
	client := redis.NewClient(&redis.Options{Addr: address})
	return remote{redisstore.New(client, redisstore.Timeout(patience)), client}
}

func (r remote) Close() error { return errors.Join(r.Store.Close(), r.client.Close()) }

// each runs a proof for some kinds of store, in virtual time where that is wanted and possible.
func each(t *testing.T, some []kind, virtual bool, prove func(t *testing.T, k kind)) {
	for _, k := range some {
		t.Run(k.name, func(t *testing.T) {
			if virtual && k.virtual {
				synctest.Test(t, func(t *testing.T) { prove(t, k) })
			} else {
				prove(t, k)
			}
		})
	}
}

// replica opens a store and closes it with the test.
func (k kind) replica(t testing.TB, address string) budget.Store {
	s := k.open(address)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// patience is for machines that do much else: what is proven here is order, not speed.
const patience = 2 * time.Minute

// checks is how many histories rapid makes in a round.
const checks = 15

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func long() bool { return os.Getenv("GRIDLOOP_LONG") != "" }

func TestMain(m *testing.M) {
	if what := os.Getenv(workerEnv); what != "" {
		os.Exit(work(what))
	}
	flag.Parse()
	for name, value := range map[string]string{"rapid.checks": fmt.Sprint(checks), "rapid.nofailfile": "true", "rapid.shrinktime": "500ms"} {
		if !given(name) {
			_ = flag.Set(name, value)
		}
	}
	if given("rapid.seed") {
		asked, _ = strconv.ParseUint(flag.Lookup("rapid.seed").Value.String(), 10, 64)
	}
	code := m.Run()
	if postgres.end != nil {
		postgres.end()
	}
	os.Exit(code)
}

// asked is the seed of the command line, 0 if there is none. Tests set that of rapid themselves.
var asked uint64

func given(name string) (yes bool) {
	flag.Visit(func(f *flag.Flag) { yes = yes || f.Name == name })
	return yes
}

func money(nano int64) budget.Amounts { return budget.Amounts{NanoUSD: nano} }

func tenant(name string) []budget.Scope {
	return []budget.Scope{{Kind: "tenant", Name: strings.TrimSpace(name)}}
}
