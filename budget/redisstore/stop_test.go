package redisstore

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/budgettest"
	"github.com/redis/go-redis/v9"
)

func TestTheStopButtonReachesFourProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	srv := startServer(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	took := budgettest.StopButton(t, New(srv.closing(t)), func(file string) *exec.Cmd {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), workerEnv+"=stop "+srv.addr+" "+file)
		return cmd
	})
	t.Logf("the last admission came %v after the button was pressed", took)
}

func TestTheStopButtonReachesFourProcessesWithSlices(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	srv := startServer(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	took := budgettest.StopButtonWithin(t, New(srv.closing(t)), 2*time.Second, func(file string) *exec.Cmd {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), workerEnv+"=stop "+srv.addr+" "+file+" slices")
		return cmd
	})
	t.Logf("the last admission from a slice came %v after the button was pressed", took)
}

// workStop spends until it is told. words are the server, a file, and whether to spend from slices.
func workStop(words []string) int {
	c := redis.NewClient(&redis.Options{Addr: words[0]})
	defer c.Close()
	store := budget.Store(New(c))
	if len(words) > 2 {
		var err error
		if store, err = budget.Slice(store, budget.Slices{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
	}
	err := budgettest.SpendUntilEOF(store, words[1], os.Stdin)
	if err == nil {
		err = store.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return 0
}
