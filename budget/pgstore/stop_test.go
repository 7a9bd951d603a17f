package pgstore

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/gridloop/gridloop/budget/budgettest"
)

func TestTheStopButtonReachesFourProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	srv := startServer(t)
	dsn := srv.dsn() + "&search_path=" + srv.emptySchema(t)
	store := At(dsn)
	defer store.Close()
	took := budgettest.StopButton(t, store, func(file string) *exec.Cmd { return worker(t, "stop "+dsn+" "+file) })
	t.Logf("the last admission came %v after the button was pressed", took)
}

// workStop spends until it is told. words are the address and a file.
func workStop(words []string) int {
	store := At(words[0])
	err := budgettest.SpendUntilEOF(store, words[1], os.Stdin)
	if cerr := store.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return 0
}
