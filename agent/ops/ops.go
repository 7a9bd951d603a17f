// Package ops is the operator's hand on agents at work, over HTTP: what runs, who spends and how long the caps last,
// what is frozen and who changed what; and the stop button.
//
//	GET  live  top  caps  standing  freezes  changes  runs/{id}  audit  explain
//	POST freeze  unfreeze  caps  runs/{id}/cancel
//
// The writing half is there only if [Config.Authorise] is. Everything is JSON; money is nano-USD, times are RFC 3339,
// durations seconds. No prompt, answer or argument is ever in it. The command in opsctl talks to it.
//
//	h, err := ops.Handler(ops.Config{Agents: []*agent.Agent{desk}, Authorise: operators})
//	mux.Handle("/ops/", http.StripPrefix("/ops", h))
//
// Do not show the reading half to the world either: it names tenants and what they spend.
package ops

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
)

// Config is what [Handler] shows.
type Config struct {
	// Agents are those whose runs are shown and may be cancelled.
	Agents []*agent.Agent
	// Ledger is where caps and freezes are. Nil: that of the agents, which must then share one.
	Ledger *budget.Ledger
	// Authorise is asked before every request, reading ones too. who is kept as the author of what is changed; an error
	// or no who is answered with 403 and the request goes no further, and the error is not shown. Nil: the reading
	// half alone is mounted, for everybody who reaches it.
	Authorise func(*http.Request) (who string, err error)
}

type server struct {
	agents    []*agent.Agent
	ledger    *budget.Ledger
	authorise func(*http.Request) (string, error)
	cross     *http.CrossOriginProtection
}

// Handler makes the handler. It keeps no state and starts no goroutine.
func Handler(cfg Config) (http.Handler, error) {
	s := &server{agents: slices.Clone(cfg.Agents), ledger: cfg.Ledger, authorise: cfg.Authorise, cross: http.NewCrossOriginProtection()}
	for i, a := range cfg.Agents {
		switch {
		case a == nil:
			return nil, fmt.Errorf("ops: Agents[%d] is nil: leave it out", i)
		case s.ledger == nil && i > 0 && a.Ledger() != cfg.Agents[0].Ledger():
			return nil, errors.New("ops: the agents have ledgers of their own: give them one by agent.Config.Ledger, or make a handler for each")
		}
	}
	if s.ledger == nil {
		if len(cfg.Agents) == 0 {
			return nil, errors.New("ops: there is nothing to show: give Agents, or a Ledger")
		}
		s.ledger = cfg.Agents[0].Ledger()
	}
	mux := http.NewServeMux()
	read := func(path string, f func(*http.Request) (any, error)) {
		mux.HandleFunc("GET /"+path, func(w http.ResponseWriter, r *http.Request) {
			if _, ok := s.who(w, r); ok {
				answer(w, r, f)
			}
		})
	}
	read("live", s.live)
	read("top", s.top)
	read("caps", s.caps)
	read("standing", s.standing)
	read("freezes", s.freezes)
	read("changes", s.changes)
	read("runs/{id}", s.run)
	read("audit", s.audit)
	read("explain", s.explain)
	if s.authorise != nil {
		write := func(path string, f func(r *http.Request, who string) (any, error)) {
			mux.HandleFunc("POST /"+path, func(w http.ResponseWriter, r *http.Request) {
				// A browser that somebody's page sends here has no business with money.
				if err := s.cross.Check(r); err != nil {
					refuse(w, &problem{http.StatusForbidden, "cross_origin", "the request comes from another origin"})
					return
				}
				if who, ok := s.who(w, r); ok {
					answer(w, r, func(r *http.Request) (any, error) { return f(r, who) })
				}
			})
		}
		write("freeze", s.freeze)
		write("unfreeze", s.unfreeze)
		write("caps", s.setCap)
		write("runs/{id}/cancel", s.cancel)
	}
	return mux, nil
}

// who is the author of the request; false if it was refused.
func (s *server) who(w http.ResponseWriter, r *http.Request) (string, bool) {
	if s.authorise == nil {
		return "", true
	}
	who, err := s.authorise(r)
	if err != nil || who == "" {
		refuse(w, &problem{http.StatusForbidden, "forbidden", "not authorised"})
		return "", false
	}
	return who, true
}
