package redisstore

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

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

// workStop spends until it is told. words are the server and a file.
func workStop(words []string) int {
	c := redis.NewClient(&redis.Options{Addr: words[0]})
	defer c.Close()
	if err := budgettest.SpendUntilEOF(New(c), words[1], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return 0
}
