package agent

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gridloop/gridloop/budget"
)

// readOnly reports whether a run of the agent only reads, so that several may go on at
// once: all of its tools do, and all agents that it calls.
func (a *Agent) readOnly() bool {
	for _, t := range a.tools.All() {
		if !t.ReadOnly() {
			return false
		}
	}
	for _, sub := range a.agents {
		if !sub.readOnly() {
			return false
		}
	}
	return true
}

// checkCalled refuses agents with caps that runs called from here would pass by: they
// spend from this agent's ledger. Its own limits of a run are not among them, a called
// run brings those along.
func (a *Agent) checkCalled() error {
	if a.ledger == nil {
		return nil // a mistake that is reported already
	}
	var errs []error
	for i, sub := range a.cfg.Agents {
		if sub == nil || sub.ledger == a.ledger {
			continue
		}
		for _, c := range sub.caps {
			limit := slices.ContainsFunc(runCaps(sub.limits), func(l budget.Cap) bool { return l.ID() == c.ID() })
			here := slices.ContainsFunc(a.caps, func(l budget.Cap) bool { return l.ID() == c.ID() && l.Limit <= c.Limit })
			if limit && sub.ownLedger || here || c.Limit == budget.None {
				continue
			}
			errs = append(errs, fmt.Errorf("agent: Agents[%d]: the cap %q of %q does not count when it is called from here: give both agents one Ledger, or this agent the same cap",
				i, c.ID(), sub.cfg.Name))
		}
	}
	return errors.Join(errs...)
}
