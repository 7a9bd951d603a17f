package pgstore

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/budgettest"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// bouncer is a PgBouncer of the test's own before srv, which gives each transaction whatever connection is free; the answer is its
// address. PgBouncer is an optional tool: without it the test is skipped.
func bouncer(t *testing.T, srv *server) (dsn string) {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			t.Skip("pgbouncer is not installed: apt-get install pgbouncer")
		}
	}
	port := freePort(t)
	config := filepath.Join(srv.dir, "pgbouncer-"+port+".ini")
	must(t, os.WriteFile(config, fmt.Appendf(nil, `[databases]
postgres = host=127.0.0.1 port=%s user=gridloop
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 20
server_idle_timeout = 3600
`, srv.port, port), 0o644))
	cmd := srv.command(program, config)
	cmd.SysProcAttr = tied(&syscall.SysProcAttr{Credential: srv.as}, syscall.SIGKILL)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	dsn = fmt.Sprintf("postgres://gridloop@127.0.0.1:%s/postgres?connect_timeout=30", port)
	for range 500 {
		var c *pgx.Conn
		if c, err = pgx.Connect(t.Context(), dsn); err == nil {
			must(t, c.Close(t.Context()))
			return dsn
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("pgbouncer does not answer: %v", err)
	return ""
}

func TestDatabaseBehindAPoolOfTransactionsIsAStore(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a pool")
	}
	pool, err := pgxpool.New(t.Context(), bouncer(t, startServer(t))+"&default_query_exec_mode=exec")
	must(t, err)
	t.Cleanup(pool.Close)
	if os.Getenv("GRIDLOOP_LONG") == "" { // the whole suite runs without a pool, too
		s := emptiedOn(t, pool)
		defer s.Close()
		if b := budgettest.Crashes(t, s); b.True > b.Limit || b.Counted > b.Limit || b.True > b.Counted || b.True < b.Limit/2 {
			t.Errorf("%+v", b)
		}
		return
	}
	clocks := map[budget.Store]*ahead{}
	budgettest.Exercise(t, func(t *testing.T) budget.Store {
		s, clock := emptiedOn(t, pool), &ahead{}
		s.clock, clocks[s] = clock.now, clock
		return s
	}, budgettest.Advance(func(s budget.Store, d time.Duration) { clocks[s].by.Add(int64(d)) }))
}

// Statements that pgx prepares on one connection and means to find on another are not found, or are there already. Nothing
// is admitted then, and the error says what to do. Newer pools pass prepared statements on.
func TestPreparedStatementsBehindAPoolOfTransactionsAreExplained(t *testing.T) {
	dsn, schema := bouncer(t, startServer(t)), schemaName()
	refused := 0
	for i := range 8 {
		s := At(dsn, Schema(schema), Timeout(patience))
		l, err := budget.Open(t.Context(), budget.Config{Store: s, Caps: []budget.Cap{crashCap(1000)}})
		if err == nil {
			_, err = l.Reserve(t.Context(), money(fmt.Sprint(i), 1))
		}
		switch {
		case errors.Is(err, ErrPooled) && errors.Is(err, budget.ErrUnavailable):
			refused++
		case err != nil:
			t.Error(err)
		}
		must(t, s.Close())
	}
	t.Logf("%d of 8 stores were refused", refused)
}

// What a pool says when it has lost the server says nothing about the transaction.
func TestALostServerBehindAPoolIsNotARefusal(t *testing.T) {
	for _, test := range []struct {
		severity, code string
		undone         bool
	}{{"ERROR", "40P01", true}, {"ERROR", "08P01", false}, {"ERROR", "08006", false}, {"FATAL", "08P01", false}, {"FATAL", "57P01", false}, {"FATAL", idleTooLong, true}} {
		if got := undone(&pgconn.PgError{Severity: test.severity, Code: test.code}); got != test.undone {
			t.Errorf("%s %s: nothing was done is %v", test.severity, test.code, got)
		}
	}
}
