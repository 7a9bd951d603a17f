package agent

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// None is how "no limit" is written in [Limits]. Zero always means the default.
const None = -1

// Limits end a run that would otherwise go on. All of them are on by default;
// at any of them the run ends with an answer, the reason and the whole history.
// The zero value holds the defaults; [None] switches one off.
type Limits struct {
	Steps     int `json:"steps"`      // model steps; 40
	ToolCalls int `json:"tool_calls"` // 120
	Parallel  int `json:"parallel"`   // read-only calls at once; 8
	Repairs   int `json:"repairs"`    // rounds to mend a structured answer; 1

	// Wall is working time: time inside model and tool calls, without the time
	// waited for a top-up or for people. 10 minutes.
	Wall time.Duration `json:"wall"`
	// Wait is how long the run may wait for top-ups (402, 503) before it pauses.
	// 90 seconds, and again after each resume.
	Wait time.Duration `json:"wait"`

	MaxTokens int `json:"max_tokens"` // output of one model call; 4,096

	RunNanoUSD int64 `json:"run_nano_usd"` // cap of each run: $1.00
	RunTokens  int64 `json:"run_tokens"`   // cap of each run: 2,000,000

	// Carved keeps what RunNanoUSD and RunTokens allow, those of them that are set, for the run
	// from the moment it begins: on every cap for the account, its tenant, user and tags, and for
	// the runs above it, against everybody. What is left returns when the run ends, or waits for
	// people; a resumed run takes it again, or goes on without if the caps have no room. A run for
	// whose share there is no room does not begin: called by another agent, the model that called
	// is told; else it ends as at a cap, and has asked the market nothing.
	Carved bool `json:"carved,omitempty"`
}

// The defaults of [Limits].
const (
	DefaultSteps      = 40
	DefaultToolCalls  = 120
	DefaultParallel   = 8
	DefaultRepairs    = 1
	DefaultWall       = 10 * time.Minute
	DefaultWait       = 90 * time.Second
	DefaultMaxTokens  = 4096
	DefaultRunNanoUSD = 1_000_000_000
	DefaultRunTokens  = 2_000_000
)

// filled returns l with its defaults written out; None has become zero.
func (l Limits) filled() Limits {
	if l.Wait == None {
		l.Wait = math.MaxInt64
	}
	return Limits{
		Steps:      orDefault(l.Steps, DefaultSteps),
		ToolCalls:  orDefault(l.ToolCalls, DefaultToolCalls),
		Parallel:   orDefault(l.Parallel, DefaultParallel),
		Repairs:    orDefault(l.Repairs, DefaultRepairs),
		Wall:       orDefault(l.Wall, DefaultWall),
		Wait:       orDefault(l.Wait, DefaultWait),
		MaxTokens:  orDefault(l.MaxTokens, DefaultMaxTokens),
		RunNanoUSD: orDefault(l.RunNanoUSD, DefaultRunNanoUSD),
		RunTokens:  orDefault(l.RunTokens, DefaultRunTokens),
		Carved:     l.Carved,
	}
}

// share is what Carved keeps for a run. The defaults are not part of it: they are there to
// stop what has gone wrong, and more than most tenants may hold.
func (l Limits) share() budget.Amounts {
	if !l.Carved {
		return budget.Amounts{}
	}
	return budget.Amounts{NanoUSD: max(l.RunNanoUSD, 0), Tokens: max(l.RunTokens, 0)}
}

func orDefault[N int | int64 | time.Duration](v, def N) N {
	switch v {
	case 0:
		return def
	case None:
		return 0
	}
	return v
}

func (l Limits) validate() error {
	var errs []error
	check := func(field string, v int64) {
		if v < None {
			errs = append(errs, fmt.Errorf("agent: Limits.%s is %d: give a positive number, 0 for the default, or agent.None", field, v))
		}
	}
	check("Steps", int64(l.Steps))
	check("ToolCalls", int64(l.ToolCalls))
	check("Parallel", int64(l.Parallel))
	check("Repairs", int64(l.Repairs))
	check("Wall", int64(l.Wall))
	check("Wait", int64(l.Wait))
	check("MaxTokens", int64(l.MaxTokens))
	check("RunNanoUSD", l.RunNanoUSD)
	check("RunTokens", l.RunTokens)
	if l.MaxTokens == None {
		errs = append(errs, errors.New("agent: Limits.MaxTokens cannot be None: max_tokens is always sent, for the reservation rests on it"))
	}
	if l.MaxTokens > 0 && l.MaxTokens < finalTokens {
		errs = append(errs, fmt.Errorf("agent: Limits.MaxTokens is %d: %d is the least that leaves room for an answer", l.MaxTokens, finalTokens))
	}
	return errors.Join(errs...)
}

// allowanceLease is how long the allowance may stand without being renewed:
// as long as a run may work and wait.
func allowanceLease(l Limits) time.Duration {
	const least, most = 15 * time.Minute, 24 * time.Hour
	if l.Wall <= 0 || l.Wall > most || l.Wait > most {
		return most
	}
	return min(max(l.Wall+l.Wait+time.Minute, least), most)
}
