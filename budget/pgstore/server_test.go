package pgstore

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// server is a PostgreSQL of the test's own, on loopback, in a directory of its own.
type server struct {
	t        testing.TB
	bin      string
	dir      string
	port     string
	settings []string
	as       *syscall.Credential // the server refuses to be root
	cmd      *exec.Cmd
}

// find is where the server's programs are.
func find(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path)
		}
	}
	debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	slices.Sort(debian)
	if len(debian) == 0 {
		if os.Getenv("GRIDLOOP_REQUIRE") != "" {
			t.Fatal("postgres is not installed: apt-get install postgresql")
		}
		t.Skip("postgres is not installed: apt-get install postgresql")
	}
	return filepath.Dir(debian[len(debian)-1])
}

// newServer makes one from the database that the first has made, and starts it.
func newServer(t testing.TB, settings ...string) *server {
	t.Helper()
	s := &server{t: t, bin: find(t), settings: settings}
	if os.Getuid() == 0 {
		who, err := user.Lookup("nobody")
		must(t, err)
		uid, _ := strconv.Atoi(who.Uid)
		gid, _ := strconv.Atoi(who.Gid)
		s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	shared.made.Do(func() {
		s.makeDir()
		s.run("initdb", "-D", s.data(), "-U", "gridloop", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
		shared.made.dir = s.dir
	})
	if shared.made.dir == "" {
		t.Fatal("there is no database to copy")
	}
	s.makeDir()
	s.run("/bin/cp", "-R", filepath.Join(shared.made.dir, "data"), s.dir)
	s.port = freePort(t)
	s.start()
	return s
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	must(t, l.Close())
	return port
}

// makeDir makes the server's directory. Whoever is killed before he can remove it has somebody to do that.
func (s *server) makeDir() {
	s.t.Helper()
	var err error
	s.dir, err = os.MkdirTemp("", "pgstore")
	must(s.t, err)
	if s.as != nil {
		must(s.t, os.Chown(s.dir, int(s.as.Uid), int(s.as.Gid)))
	}
	remover := exec.Command("/bin/sh", "-c", `read _; rm -rf "$0" || { sleep 5; rm -rf "$0"; }`, s.dir)
	remover.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	end, err := remover.StdinPipe() // it ends with this process
	must(s.t, err)
	must(s.t, remover.Start())
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.removers = append(shared.removers, func() {
		_ = end.Close()
		_ = remover.Wait()
	})
}

func (s *server) run(name string, args ...string) {
	s.t.Helper()
	if out, err := s.command(name, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func (s *server) data() string { return filepath.Join(s.dir, "data") }

func (s *server) command(name string, args ...string) *exec.Cmd {
	if !filepath.IsAbs(name) {
		name = filepath.Join(s.bin, name)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "TZ=UTC")
	// Nothing outlives this process, however it ends. The server takes SIGQUIT for an immediate stop.
	cmd.SysProcAttr = tied(&syscall.SysProcAttr{Credential: s.as}, syscall.SIGQUIT)
	return cmd
}

func (s *server) start() {
	s.t.Helper()
	args := []string{"-D", s.data(), "-p", s.port, "-h", "127.0.0.1", "-k", s.dir, "-c", "max_connections=200", "-c", "shared_buffers=128MB"}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	s.cmd = s.command("postgres", args...)
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * patience); ; time.Sleep(20 * time.Millisecond) {
		err := s.ping()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			s.stop()
			s.t.Fatalf("the server does not answer: %v\n%s", err, said)
		}
	}
}

func (s *server) ping() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.dsn())
	if err != nil {
		return err
	}
	return c.Close(ctx)
}

func (s *server) dsn() string {
	return fmt.Sprintf("postgres://gridloop@127.0.0.1:%s/postgres?connect_timeout=30", s.port)
}

// crash ends the server as a power cut does, but for what the kernel has: no checkpoint, nobody is told. Its processes
// notice that the first of them is gone.
func (s *server) crash() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		// The backends of a killed postmaster must be gone before another starts; it checks that itself.
		if out, _ := s.command("postgres", "-D", s.data(), "-C", "shared_memory_size").CombinedOutput(); !bytes.Contains(out, []byte("still in use")) {
			return
		}
	}
}

// immediate is pg_ctl's immediate stop: every process ends at once.
func (s *server) immediate() {
	s.t.Helper()
	if out, err := s.command("pg_ctl", "stop", "-D", s.data(), "-m", "immediate", "-w").CombinedOutput(); err != nil {
		s.t.Errorf("pg_ctl: %v\n%s", err, out)
	}
	_ = s.cmd.Wait()
}

func (s *server) stop() {
	if s.cmd != nil && s.cmd.Process != nil && s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Signal(syscall.SIGQUIT)
		_ = s.cmd.Wait()
	}
}

// shared is the server of most tests; each has a schema of its own.
var shared struct {
	made struct { // a database that was never started
		sync.Once
		dir string
	}
	once     sync.Once
	server   *server
	serial   atomic.Int64
	mu       sync.Mutex
	removers []func()
	pool     *pgxpool.Pool
	used     []string // schemas whose tables are empty again
}

// endShared ends what the tests have shared, and waits until nothing is left of any server.
func endShared() {
	if shared.pool != nil {
		shared.pool.Close()
	}
	if shared.server != nil {
		shared.server.stop()
	}
	for _, remove := range shared.removers {
		remove()
	}
}

func startServer(t testing.TB) *server {
	t.Helper()
	find(t)
	shared.once.Do(func() { shared.server = newServer(t) })
	if shared.server == nil || shared.server.cmd == nil {
		t.Fatal("there is no server")
	}
	return shared.server
}

// ownServer is one that a test may crash.
func ownServer(t testing.TB, settings ...string) *server {
	t.Helper()
	s := newServer(t, settings...)
	t.Cleanup(s.stop)
	return s
}

// schemaName is one that nobody has used.
func schemaName() string { return fmt.Sprintf("t%d", shared.serial.Add(1)) }

// emptySchema makes one, for workers that find their tables by search_path.
func (s *server) emptySchema(t testing.TB) string {
	t.Helper()
	name := schemaName()
	if _, err := s.pool(t).Exec(context.Background(), "CREATE SCHEMA "+name); err != nil {
		t.Fatal(err)
	}
	return name
}

// patience is for machines that do much else: what is proven is order, not speed.
const patience = time.Minute

// fresh is a store in tables of its own.
func fresh(t testing.TB, opts ...Option) *Store {
	t.Helper()
	return At(startServer(t).dsn(), append([]Option{Schema(schemaName()), Timeout(patience)}, opts...)...)
}

// emptied is a store in tables, and on connections, that other tests have used before, if there are any: making new ones
// takes longer than most tests. Its test closes it.
func emptied(t testing.TB) *Store {
	t.Helper()
	srv := startServer(t)
	if shared.pool == nil {
		p, err := pgxpool.New(context.Background(), srv.dsn())
		must(t, err)
		shared.pool = p
	}
	return emptiedOn(t, shared.pool)
}

// emptiedOn is the same on connections to the shared server that the test has made.
func emptiedOn(t testing.TB, pool *pgxpool.Pool) *Store {
	t.Helper()
	var schema string
	if n := len(shared.used); n > 0 {
		schema, shared.used = shared.used[n-1], shared.used[:n-1]
	} else {
		schema = schemaName()
	}
	s, err := Open(t.Context(), pool, Schema(schema), Timeout(patience))
	must(t, err)
	t.Cleanup(func() {
		var empty strings.Builder
		for _, table := range []string{"account", "cap", "count", "reservation", "freeze", "closed", "change"} {
			empty.WriteString(s.sql("DELETE FROM @" + table + ";"))
		}
		_, err := pool.Exec(context.Background(), empty.String())
		must(t, err)
		shared.used = append(shared.used, schema)
	})
	return s
}

// pool is a connection that knows nothing of stores.
func (s *server) pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	p, err := pgxpool.New(context.Background(), s.dsn())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}
