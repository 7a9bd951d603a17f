package ledger

import (
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
	"syscall"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/pgstore"
)

// postgres is one server for all proofs, on loopback, in a directory of its own. A shell ends it with this process.
var postgres struct {
	sync.Once
	dsn    string
	places int
	end    func()
}

// newPostgres is a schema of its own.
func newPostgres(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("postgres")
	if err != nil {
		debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
		if len(debian) == 0 {
			if os.Getenv("GRIDLOOP_REQUIRE") != "" {
				t.Fatal("postgres is not installed: apt-get install postgresql")
			}
			t.Skip("postgres is not installed: apt-get install postgresql")
		}
		path = slices.Max(debian)
	}
	postgres.Do(func() { startPostgres(t, path) })
	if postgres.dsn == "" {
		t.Fatal("there is no server")
	}
	postgres.places++
	return fmt.Sprintf("%s p%d", postgres.dsn, postgres.places)
}

func startPostgres(t testing.TB, path string) {
	path, err := filepath.EvalSymlinks(path)
	must(t, err)
	dir, err := os.MkdirTemp("", "proof")
	must(t, err)
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 { // which the server refuses to be
		who, err := user.Lookup("nobody")
		must(t, err)
		uid, _ := strconv.Atoi(who.Uid)
		gid, _ := strconv.Atoi(who.Gid)
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		must(t, os.Chown(dir, uid, gid))
	}
	data := filepath.Join(dir, "data")
	made := exec.Command(filepath.Join(filepath.Dir(path), "initdb"), "-D", data, "-U", "gridloop", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	made.Dir, made.SysProcAttr = dir, attr
	if out, err := made.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	must(t, l.Close())
	server := exec.Command(path, "-D", data, "-p", port, "-h", "127.0.0.1", "-k", dir, "-c", "max_connections=200")
	server.Dir, server.SysProcAttr = dir, attr
	must(t, server.Start())
	ender := exec.Command("/bin/sh", "-c", `read _; kill -QUIT "$1"; sleep 1; rm -rf "$0"`, dir, strconv.Itoa(server.Process.Pid))
	ender.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := ender.StdinPipe() // it ends with this process, however that ends
	must(t, err)
	must(t, ender.Start())
	postgres.end = func() {
		_ = in.Close()
		_ = server.Wait()
		_ = ender.Wait()
	}
	dsn := "postgres://gridloop@127.0.0.1:" + port + "/postgres?connect_timeout=30"
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		s := pgstore.At(dsn, pgstore.Schema("begun"))
		_, err := s.Caps(context.Background(), "a", 0)
		_ = s.Close()
		if err == nil {
			postgres.dsn = dsn
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server does not answer: %v", err)
		}
	}
}

func openPostgres(address string) budget.Store {
	dsn, schema, _ := strings.Cut(address, " ")
	return pgstore.At(dsn, pgstore.Schema(schema), pgstore.Timeout(patience))
}
