package sqlitestore_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gridloop/gridloop/budget/budgettest"
	"github.com/gridloop/gridloop/budget/sqlitestore"
)

func TestTheStopButtonReachesFourProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "spend.db")
	store := sqlitestore.At(path)
	defer store.Close()
	took := budgettest.StopButton(t, store, func(file string) *exec.Cmd {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), "SQLITESTORE_WORKER=stop", "SQLITESTORE_PATH="+path, "SQLITESTORE_FILE="+file)
		return cmd
	})
	t.Logf("the last admission came %v after the button was pressed", took)
}

// stop spends until it is told.
func stop() int {
	s := sqlitestore.At(os.Getenv("SQLITESTORE_PATH"), sqlitestore.Existing())
	err := budgettest.SpendUntilEOF(s, os.Getenv("SQLITESTORE_FILE"), os.Stdin)
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return 0
}
