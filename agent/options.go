package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	openai "github.com/sashabaranov/go-openai"

	"github.com/gridloop/gridloop/grid"
)

// Option sets one thing for one run.
type Option func(*runOptions)

type runOptions struct {
	labels    Labels
	pin       string
	id        string
	nanoUSD   int64
	tokens    int64
	steps     int // None: no limit
	toolCalls int
	stream    StreamMode
	history   []grid.Message
	before    Conversation
	decisions []delivery
	errs      []error
}

// Tenant says for whom the run works. Caps "for each tenant" apply to it.
func Tenant(name string) Option { return func(o *runOptions) { o.labels.Tenant = name } }

// User says on whose behalf the run works.
func User(name string) Option { return func(o *runOptions) { o.labels.User = name } }

// Tags add labels that caps and routing rules can match.
func Tags(tags map[string]string) Option {
	return func(o *runOptions) {
		if o.labels.Tags == nil {
			o.labels.Tags = make(map[string]string, len(tags))
		}
		maps.Copy(o.labels.Tags, tags)
	}
}

// Pin serves every step on this instrument, whatever the routes say.
func Pin(instrument string) Option { return func(o *runOptions) { o.pin = instrument } }

// RunID names the run. It must be unique within the ledger, for reservations and
// the tools' idempotency keys are built on it. Without it the run gets a random id.
func RunID(id string) Option { return func(o *runOptions) { o.id = id } }

// Cap is what this run may spend, in nano-USD: budget.USD(0.50). It stands in
// place of Limits.RunNanoUSD.
func Cap(nanoUSD int64) Option {
	return func(o *runOptions) {
		if nanoUSD <= 0 {
			o.errs = append(o.errs, fmt.Errorf("agent: Cap(%d): give a positive amount of nano-USD, such as budget.USD(0.50)", nanoUSD))
		}
		o.nanoUSD = nanoUSD
	}
}

// CapTokens is how many tokens this run may use. It stands in place of
// Limits.RunTokens.
func CapTokens(n int64) Option {
	return func(o *runOptions) {
		if n <= 0 {
			o.errs = append(o.errs, fmt.Errorf("agent: CapTokens(%d): give a positive number of tokens", n))
		}
		o.tokens = n
	}
}

// Steps is how many model steps this run may take, [None] for any number. It stands in
// place of Limits.Steps.
func Steps(n int) Option {
	return func(o *runOptions) { o.steps = o.limit("Steps", n) }
}

// ToolCalls is how many tool calls this run may make, those of agents that it calls
// included, [None] for any number. It stands in place of Limits.ToolCalls.
func ToolCalls(n int) Option {
	return func(o *runOptions) { o.toolCalls = o.limit("ToolCalls", n) }
}

func (o *runOptions) limit(option string, n int) int {
	if n <= 0 && n != None {
		o.errs = append(o.errs, fmt.Errorf("agent: %s(%d): give a positive number, or agent.None", option, n))
	}
	return n
}

// StreamMode says when answers are streamed.
type StreamMode string

// When answers are streamed.
const (
	StreamAuto StreamMode = ""    // while somebody reads events and the step is not checked first
	StreamOn   StreamMode = "on"  // always
	StreamOff  StreamMode = "off" // never
)

// Stream says when answers are streamed; the default is [StreamAuto].
func Stream(m StreamMode) Option { return func(o *runOptions) { o.stream = m } }

// Continue goes on from the transcript of an earlier run, for conversations of
// many turns. Instructions are the new run's own.
func Continue(c Conversation) Option { return func(o *runOptions) { o.before = c } }

// History goes on from messages that the caller kept, without instructions.
// Every tool call in them must be answered once, in call order.
func History(messages ...openai.ChatCompletionMessage) Option {
	return func(o *runOptions) {
		for _, m := range messages {
			o.history = append(o.history, grid.FromOpenAI(m))
		}
		if err := validHistory(o.history); err != nil {
			o.errs = append(o.errs, err)
		}
	}
}

// validHistory checks that messages can be sent: every tool call answered
// exactly once, in call order.
func validHistory(messages []grid.Message) error {
	roles := []string{"system", "developer", "user", "assistant", "tool"}
	var open []string
	for i, m := range messages {
		switch {
		case !slices.Contains(roles, m.Role):
			return fmt.Errorf("agent: History: message %d has the role %q: give one of %s", i, m.Role, strings.Join(roles, ", "))
		case m.Role == "tool" && len(open) == 0:
			return fmt.Errorf("agent: History: message %d answers a tool call that was not made: remove it", i)
		case m.Role == "tool" && m.ToolCallID != open[0]:
			return fmt.Errorf("agent: History: message %d answers call %q, but %q comes first: answers go in call order", i, m.ToolCallID, open[0])
		case m.Role == "tool":
			open = open[1:]
		case len(open) > 0:
			return fmt.Errorf("agent: History: message %d comes before the answer to call %q: answer every tool call first", i, open[0])
		}
		for _, c := range m.ToolCalls {
			open = append(open, c.ID)
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("agent: History: call %q has no answer: add a tool message for it", open[0])
	}
	return nil
}

// Approve lets a call go on that waits for a decision.
func Approve(c PendingCall, opts ...DecisionOption) Option {
	return decide(c, Decision{Approved: true}, opts)
}

// Deny refuses a call that waits for a decision. The model is told so, with the
// reason if [Because] gives one, and goes on.
func Deny(c PendingCall, opts ...DecisionOption) Option {
	return decide(c, Decision{}, opts)
}

// DecisionOption adds to a decision.
type DecisionOption func(*Decision)

// By says who decided. Tools find it in tools.CallFrom(ctx).Approver.
func By(who string) DecisionOption { return func(d *Decision) { d.By = who } }

// Because says why. The model is told.
func Because(why string) DecisionOption { return func(d *Decision) { d.Reason = why } }

type delivery struct {
	key string
	d   Decision
}

func decide(c PendingCall, d Decision, opts []DecisionOption) Option {
	for _, opt := range opts {
		opt(&d)
	}
	return func(o *runOptions) {
		if c.Key == "" {
			o.errs = append(o.errs, errors.New("agent: a decision for a call without a key: take the call from Paused.Calls"))
			return
		}
		o.decisions = append(o.decisions, delivery{c.Key, d})
	}
}

func (o *runOptions) validate() error {
	errs := o.errs
	if strings.ContainsAny(o.id, "/#\n") || len(o.id) > 128 {
		errs = append(errs, fmt.Errorf("agent: RunID %q: use up to 128 characters without / and #, for keys are built on it", o.id))
	}
	if len(o.history) > 0 && o.before.Len() > 0 {
		errs = append(errs, errors.New("agent: give either Continue or History, not both"))
	}
	return errors.Join(errs...)
}
