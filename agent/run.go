package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/router"
	"github.com/gridloop/gridloop/tools"
)

// run is one run in this process: its State, and what its handlers share.
type run struct {
	a      *Agent
	id     string
	state  State
	blobs  Blobs
	ledger *budget.Ledger
	output *tools.Schema   // nil: text
	format json.RawMessage // asks for output
	stream StreamMode
	events *queue // nil while nobody reads

	client *grid.Client
	parent *run // the run that called this one's agent; nil at the root

	resumed  bool
	parked   bool
	children map[string]*run     // runs of agents that this one called, by op key
	inbox    map[string]Decision // decisions by call key
	thawed   bool                // Resume itself is what a run parked for money waited for

	// What the handlers of one run share. Model ops of a run never overlap, tool
	// ops do, so only cause and message need the lock.
	caps        []budget.Cap // of this run alone
	defined     bool         // they are set
	later       *later
	scopes      []budget.Scope
	scopesBy    map[string][]budget.Scope // with an instrument's
	renewal     renewal
	strictMoney bool
	warned      map[string]bool
	handed      int           // steps that were handed to the reconciler
	transcripts [2]transcript // portable, and with the fields of the model's own
	estimator   *estimates
	counted     counted // of this run, or of the conversation that it continues
	began       struct {
		counted
		on string // instrument
	}
	allowance   allowance
	carve       *carve            // the nearest share that is kept for the run; nil: none
	asked       budget.Request    // memory for what the ledger is asked
	grant       budget.Grant      // and for its last answers
	settlement  budget.Settlement // likewise
	leftNanoUSD int64
	leftPercent int
	market      *market
	changes     uint64   // of the market that the reader was told of
	alerts      uint64   // likewise, of the account
	freezes     *freezes // of the agent at the root
	watch       watch
	labels      Labels  // those of state, which only the loop may read
	paused      *Paused // while it is parked

	mu      sync.Mutex
	cause   error // the Go error behind State.Failure or a pause
	message struct {
		hash string
		m    grid.Message
	}
}

// newRun prepares a run; it sends nothing and starts nothing.
func newRun(ctx context.Context, a *Agent, input string, output *tools.Schema, opts []Option) (*run, error) {
	var o runOptions
	for _, opt := range opts {
		opt(&o)
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	if len(o.decisions) > 0 {
		return nil, errors.New("agent: Approve and Deny belong to Resume: a new run has no calls to decide")
	}
	r := &run{a: a, ledger: a.ledger, estimator: a.estimator, later: a.later, client: a.client, inbox: make(map[string]Decision), blobs: a.cfg.Blobs, output: output, stream: o.stream, strictMoney: a.strictMoney || o.nanoUSD > 0}
	if r.blobs == nil {
		r.blobs = &MemoryBlobs{}
	}
	r.state = State{
		Version: LoopVersion, Agent: a.cfg.Name, Fingerprint: a.print + outputPrint(output), Run: or(o.id, "r"+randomID(8)),
		Limits: a.limits, Labels: o.labels, Pin: o.pin, Kind: string(a.kind(output)),
	}
	if output != nil {
		r.state.Schema, r.state.Verify = true, verifyOutput
		r.format = responseFormat(output)
	}
	if o.nanoUSD > 0 {
		r.state.Limits.RunNanoUSD = o.nanoUSD
	}
	if o.tokens > 0 {
		r.state.Limits.RunTokens = o.tokens
	}
	if o.steps != 0 {
		r.state.Limits.Steps = max(o.steps, 0)
	}
	if o.toolCalls != 0 {
		r.state.Limits.ToolCalls = max(o.toolCalls, 0)
	}
	if err := r.write(ctx, input, &o); err != nil {
		return nil, err
	}
	if o.before.agent == a && startsWith(r.state.Refs, o.before.counted.refs) {
		r.counted = o.before.counted
	}
	r.caps = ownCaps(r.state.Run, o.nanoUSD, o.tokens)
	if !a.ownLedger {
		r.caps = ownCaps(r.state.Run, r.state.Limits.RunNanoUSD, r.state.Limits.RunTokens)
	}
	r.ready()
	share := a.share
	if a.limits.Carved && o.nanoUSD > 0 {
		share.NanoUSD = o.nanoUSD
	}
	if a.limits.Carved && o.tokens > 0 {
		share.Tokens = o.tokens
	}
	r.carveFor(share)
	return r, nil
}

func (r *run) ready() {
	r.id, r.labels = r.state.Run, r.state.Labels
	r.freezes = &r.a.freezes
	if r.parent != nil {
		r.freezes = r.parent.freezes
	}
	r.scopes = runScopes(&r.state)
	r.warned = make(map[string]bool)
	r.leftNanoUSD, r.leftPercent = -1, -1
}

func (a *Agent) kind(output *tools.Schema) router.Kind {
	switch {
	case a.cfg.Kind != "":
		return a.cfg.Kind
	case a.defs != nil:
		return router.KindTools
	case output != nil:
		return router.KindExtract
	}
	return router.KindText
}

func outputPrint(s *tools.Schema) string {
	if s == nil {
		return ""
	}
	return "+" + BlobHash(s.JSON())
}

// write puts the first messages of the transcript in place.
func (r *run) write(ctx context.Context, input string, o *runOptions) error {
	var refs []*MessageRef
	if r.a.system != nil {
		h, err := r.blobs.Put(ctx, r.a.system)
		if err != nil {
			return fmt.Errorf("agent: Blobs: %w", err)
		}
		refs = append(refs, &MessageRef{Hash: h, Role: "system", Bytes: len(r.a.system)})
	}
	for _, ref := range o.before.refs {
		if ref.Inline == nil && o.before.blobs != r.blobs {
			data, err := o.before.blobs.Get(ctx, ref.Hash)
			if err == nil {
				_, err = r.blobs.Put(ctx, data)
			}
			if err != nil {
				return fmt.Errorf("agent: Continue: %w", err)
			}
		}
		refs = append(refs, ref)
	}
	messages := o.history
	if input != "" {
		messages = append(slices.Clip(messages), grid.UserMessage(input))
	}
	if len(messages) == 0 {
		return errors.New("agent: the input is empty: say what the run is to do")
	}
	for _, m := range messages {
		ref, err := r.keep(ctx, m)
		if err != nil {
			return err
		}
		refs = append(refs, &ref)
	}
	r.state.Refs, r.state.Input = refs, len(refs)
	return nil
}

// keep writes a message to Blobs and names it.
func (r *run) keep(ctx context.Context, m grid.Message) (MessageRef, error) {
	data, err := grid.EncodeMessage(m)
	if err != nil {
		return MessageRef{}, err
	}
	h, err := r.blobs.Put(ctx, data)
	if err != nil {
		return MessageRef{}, fmt.Errorf("agent: Blobs: %w", err)
	}
	ref := MessageRef{Hash: h, Role: m.Role, Bytes: len(data), Text: m.Text() != "", Private: private(m)}
	if len(m.ToolCalls) > 0 {
		ref.Calls = make([]CallRef, len(m.ToolCalls))
		for i, c := range m.ToolCalls {
			ref.Calls[i] = CallRef{ID: c.ID, Name: c.Name}
			if t, ok := r.a.tools.Lookup(c.Name); ok {
				ref.Calls[i].ReadOnly = t.ReadOnly()
			} else if r.a.agents[c.Name] != nil {
				ref.Calls[i].Agent, ref.Calls[i].ReadOnly = c.Name, r.a.agents[c.Name].readOnly()
			}
		}
	}
	return ref, nil
}

// load reads a message; the assistant message of the turn is read by each of
// its calls, so the last one is kept.
func (r *run) load(ctx context.Context, ref MessageRef) (grid.Message, error) {
	r.mu.Lock()
	if ref.Hash != "" && r.message.hash == ref.Hash {
		m := r.message.m
		r.mu.Unlock()
		return m, nil
	}
	r.mu.Unlock()
	m, err := loadMessage(ctx, r.blobs, ref)
	if err == nil {
		r.remember(ref, m)
	}
	return m, err
}

func (r *run) remember(ref MessageRef, m grid.Message) {
	r.mu.Lock()
	r.message.hash, r.message.m = ref.Hash, m
	r.mu.Unlock()
}

// emit tells the reader of the run, if there is one. It takes the event's own type,
// so that an event that nobody reads costs nothing.
func emit[E Event](r *run, e E) {
	if r.events != nil {
		r.events.push(e)
	}
}

// warn says a thing once in a run.
func (r *run) warn(step int, text string) {
	r.mu.Lock()
	was := r.warned[text]
	r.warned[text] = true
	r.mu.Unlock()
	if !was {
		emit(r, Warning{Step: step, Text: text})
	}
}

// warnAtRoot says a thing where somebody reads it: the runs below have no reader.
func (r *run) warnAtRoot(text string) {
	for r.parent != nil {
		r = r.parent
	}
	r.watch.mu.Lock()
	step := r.watch.step
	r.watch.mu.Unlock()
	r.warn(step, text)
}

func (r *run) blame(err error) {
	r.mu.Lock()
	r.cause = err
	r.mu.Unlock()
}

// drive runs the loop to its end, a pause or an error. It is called once.
func (r *run) drive(parent context.Context, events *queue) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	if err := r.a.enter(r, cancel); err != nil {
		return err
	}
	defer r.a.leave(r)
	if err := r.define(ctx); err != nil && !errors.Is(err, budget.ErrUnavailable) {
		return err
	}
	r.events = events
	r.changes, r.alerts = r.a.look().Changes, r.a.alerts.told.Load()
	ctx, span := r.startSpan(ctx)
	err := r.loop(ctx)
	r.retire(ctx, err)
	r.endSpan(span, err)
	r.events = nil
	r.a.reconciler.add(r.state.Steps[r.handed:])
	r.handed = len(r.state.Steps)
	return r.verdict(ctx, err)
}

// loop drives the run. Its handlers see r.state as it was at the start: it changes
// when they are done.
func (r *run) loop(ctx context.Context) error {
	if c := r.ownCarve(); c != nil {
		defer c.renewal.stop() // whatever happens, it is not renewed for ever; retire gives it back
	}
	s := new(State)
	*s = r.state
	err := drive(ctx, &inProcess{run: r}, s)
	r.state = *s
	return err
}

// define sets the caps that the run has for itself. It waits until the run's id
// was taken: a run that is refused must not change the caps of the one whose id
// it asked for.
//
// If the store is away the first step tries again.
func (r *run) define(ctx context.Context) error {
	if r.defined || len(r.caps) == 0 {
		return nil
	}
	err := r.ledger.Define(ctx, "agent "+r.a.cfg.Name, r.caps...)
	r.defined = err == nil
	return err
}

// retire gives back what the run holds: the allowance and the share always, and the
// run's caps unless it is parked.
func (r *run) retire(ctx context.Context, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	r.releaseAllowance(ctx)
	r.releaseCarve(ctx)
	if err == nil {
		r.blameOn(r.forget(ctx))
	}
}

// forget drops the run's counts and caps: at once, or when what it owes is settled.
func (r *run) forget(ctx context.Context) error {
	err := r.ledger.Forget(ctx, budget.Scope{Kind: scopeRun, Name: r.id})
	if err != nil && r.later.add(unsettled{id: r.id, how: forgetRun}, err) {
		return nil
	}
	return err
}

// blameOn keeps an error that must not hide the run's own result.
func (r *run) blameOn(err error) {
	if err != nil {
		r.warn(r.state.Turn, err.Error())
	}
}

// settleTime is how long settling may take after a run was cancelled.
const settleTime = 5 * time.Second

// verdict is the error that stands beside the result.
func (r *run) verdict(ctx context.Context, err error) error {
	s := &r.state
	fail := func(class string, cause error) error {
		return &RunError{Run: s.Run, Class: class, Message: s.Reason, Err: cause}
	}
	switch {
	case errors.Is(err, ErrParked):
		return r.park()
	case err != nil:
		return fail("executor", err)
	}
	switch s.Stop {
	case StopCompleted, StopTool:
		return nil
	case StopCanceled:
		cause := context.Cause(ctx)
		if cause == nil {
			cause = context.Canceled
		}
		return fail(string(StopCanceled), cause)
	case StopInvalidOutput:
		return fail(string(StopInvalidOutput), fmt.Errorf("%w%s", ErrInvalidOutput, strings.TrimPrefix(s.Reason, wrongForm)))
	case StopError:
		class := "error"
		if s.Failure != nil {
			class = s.Failure.Class
		}
		return fail(class, r.cause)
	}
	if s.Answer != nil && s.Answer.Text {
		return nil // a limit, with an answer or with the last text
	}
	if r.cause != nil {
		return fail(string(s.Stop), fmt.Errorf("%w: %w", ErrNoAnswer, r.cause))
	}
	return fail(string(s.Stop), fmt.Errorf("%w: %s", ErrNoAnswer, s.Reason))
}
