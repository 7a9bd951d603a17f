package agent

import (
	"sync"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
)

// estimates bound what the runs of an agent, and of those that it calls, can use. What
// the market counted for one of them bounds how the next one begins.
type estimates struct {
	*budget.Estimator

	mu    sync.Mutex
	begun map[beginning]begun
}

// beginning names what requests begin with alike: instructions, tools, the form of the
// answer. An agent never changes, so it stands for its own.
type beginning struct {
	agent      *Agent
	print      string // of the run, for the output
	instrument string
}

// begun is the least that was counted for a request with a beginning, which bounds the
// beginning itself.
type begun struct {
	counted
	at time.Time
}

const (
	maxBegun = 256 // beginnings are few: agents, outputs, instruments
	begunFor = 7 * 24 * time.Hour
)

// begins is what is known of a beginning; nothing is the zero value.
func (e *estimates) begins(b beginning, now time.Time) counted {
	e.mu.Lock()
	defer e.mu.Unlock()
	if k := e.begun[b]; now.Sub(k.at) < begunFor {
		return k.counted
	}
	return counted{}
}

// learn keeps a count if it is the least, and returns what is kept. One that was too
// little has raised the estimator's bounds for longer than it is kept.
func (e *estimates) learn(b beginning, k counted, now time.Time) counted {
	e.mu.Lock()
	defer e.mu.Unlock()
	was, ok := e.begun[b]
	if ok && was.tokens <= k.tokens && now.Sub(was.at) < begunFor {
		return was.counted
	}
	if !ok && len(e.begun) >= maxBegun {
		e.forgetOldest()
	}
	if e.begun == nil {
		e.begun = make(map[beginning]begun)
	}
	messages := 0
	if b.agent.system != nil {
		messages = 1
	}
	k.body -= int64(bytesOf(k.refs[messages:]))
	k.refs = append([]*MessageRef(nil), k.refs[:messages]...) // not the run's whole transcript
	e.begun[b] = begun{k, now}
	return k
}

func (e *estimates) forgetOldest() {
	var oldest beginning
	var at time.Time
	for b, k := range e.begun {
		if at.IsZero() || k.at.Before(at) {
			oldest, at = b, k.at
		}
	}
	delete(e.begun, oldest)
}

func (r *run) beginning(instrument string) beginning {
	return beginning{agent: r.a, print: r.state.Fingerprint, instrument: instrument}
}

// share lets other runs of the agent know what was counted, where that says more of how
// they begin than what they know.
func (r *run) share(at *grid.Attempt, k counted) {
	if b := &r.began; b.on == at.Instrument && b.tokens > 0 && b.tokens <= k.tokens {
		return
	}
	r.began.on, r.began.counted = at.Instrument, r.estimator.learn(r.beginning(at.Instrument), k, at.Start)
}
