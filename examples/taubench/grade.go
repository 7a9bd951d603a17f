package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/gridloop/gridloop/examples/airline"
	"github.com/gridloop/gridloop/examples/internal/tables"
	"github.com/gridloop/gridloop/examples/internal/tau"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/tools"
)

func hashes(db *airline.DB) tau.Hashes {
	return tau.Hashes{Python: db.Hash(tables.Repr), Norm: db.Hash(tables.Norm)}
}

// A grade is how the benchmark judges a conversation.
type grade struct {
	truth  tau.Hashes // of the database after the actions that would have been right
	reward float64
}

// grades work each right solution out once; many conversations share a task.
type grades struct {
	mu    sync.Mutex
	truth map[string]tau.Hashes
}

func newGrades() *grades { return &grades{truth: make(map[string]tau.Hashes)} }

// of grades what was played: 1 if the database is as it should be and the customer
// was told all that the task wants told, else 0. A conversation that was cut off at
// the step limit gets nothing.
func (g *grades) of(ctx context.Context, p *played) (grade, error) {
	truth, err := g.solve(ctx, p.recording)
	if err != nil {
		return grade{}, err
	}
	out := grade{truth: truth}
	if p.ended() && p.final.Norm == truth.Norm && told(p.messages, p.Task.Outputs) {
		out.reward = 1
	}
	return out, nil
}

// ended says whether the conversation came to its own end.
func (p *played) ended() bool {
	last := p.Messages[len(p.Messages)-1]
	return last.Role == "user" && strings.Contains(last.Text(), stopWord) ||
		last.Role == "tool" && last.Name == "transfer_to_human_agents"
}

func told(messages []grid.Message, outputs []string) bool {
	for _, want := range outputs {
		found := false
		for _, m := range messages {
			if m.Role == "assistant" && len(m.ToolCalls) == 0 {
				text := strings.ReplaceAll(strings.ToLower(m.Text()), ",", "")
				found = found || strings.Contains(text, strings.ToLower(want))
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// solve runs a task's right actions on a copy of the database.
func (g *grades) solve(ctx context.Context, r *recording) (tau.Hashes, error) {
	actions, err := json.Marshal(r.Task.Actions)
	if err != nil {
		return tau.Hashes{}, err
	}
	key := fmt.Sprintf("%p %s", r.origin, actions)
	g.mu.Lock()
	defer g.mu.Unlock()
	if known, ok := g.truth[key]; ok {
		return known, nil
	}
	db := r.origin.Copy()
	set, err := tools.NewSet(airline.Tools(func(context.Context) (*airline.DB, error) { return db, nil })...)
	if err != nil {
		return tau.Hashes{}, err
	}
	for _, a := range r.Task.Actions {
		if t, ok := set.Lookup(a.Name); ok && t.EndsRun() {
			continue
		}
		if res := set.Call(ctx, a.Name, a.Arguments); res.Status != tools.StatusOK {
			return tau.Hashes{}, fmt.Errorf("the task's own action %s cannot be run: %s", a.Name, res.Content)
		}
	}
	g.truth[key] = hashes(db)
	return g.truth[key], nil
}
