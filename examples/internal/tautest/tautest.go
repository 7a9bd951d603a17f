// Package tautest checks a set of tools against the recorded benchmark.
package tautest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/gridloop/gridloop/examples/internal/tables"
	"github.com/gridloop/gridloop/examples/internal/tau"
	"github.com/gridloop/gridloop/tools"
)

// Dir is the recorded benchmark. Without it the test is skipped, or fails where
// GRIDLOOP_REQUIRE is set.
func Dir(t testing.TB) string {
	t.Helper()
	if root := os.Getenv("GRIDLOOP_TESTDATA"); root != "" {
		dir := filepath.Join(root, "taubench")
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	if os.Getenv("GRIDLOOP_REQUIRE") != "" {
		t.Fatal("GRIDLOOP_REQUIRE is set, but GRIDLOOP_TESTDATA names no directory with taubench in it")
	}
	t.Skip("set GRIDLOOP_TESTDATA to the directory of recorded data")
	return ""
}

// A Domain is a database and the tools over it.
type Domain[DB interface {
	Copy() DB
	Hash(tables.Form) string
}] struct {
	Origin DB
	Tools  func(func(context.Context) (DB, error)) []tools.Tool
}

// GroundTruth calls the actions of each task through the tools and compares every
// observation and the final database. It returns how many it compared.
func (d Domain[DB]) GroundTruth(t *testing.T, files ...string) (tasks, observations int) {
	t.Helper()
	var db DB // of the task that is played
	set, err := tools.NewSet(d.Tools(func(context.Context) (DB, error) { return db, nil })...)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		all, err := tau.ReadTasks(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range all {
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(file), task.ID), func(t *testing.T) {
				db = d.Origin.Copy()
				observations += d.play(t, task, db, set)
			})
			tasks++
		}
	}
	return tasks, observations
}

func (d Domain[DB]) play(t *testing.T, task tau.Task, db DB, set *tools.Set) (compared int) {
	for i, a := range task.Actions {
		if a.Observation == nil {
			continue // ends the conversation, or is no tool
		}
		res := set.Call(t.Context(), a.Name, a.Arguments)
		if res.Status != tools.StatusOK || res.Content != *a.Observation {
			t.Errorf("action %d, %s(%s): %s\n got %s\nwant %s", i, a.Name, a.Arguments, res.Status, res.Content, *a.Observation)
		}
		compared++
	}
	if got := db.Hash(tables.Norm); got != task.Final.Norm {
		t.Errorf("the final database has the norm hash %s, want %s", got, task.Final.Norm)
	}
	if got := db.Hash(tables.Repr); got != task.Final.Python {
		t.Errorf("the final database has the Python hash %s, want %s", got, task.Final.Python)
	}
	return compared
}
