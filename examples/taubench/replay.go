package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/examples/airline"
	"github.com/gridloop/gridloop/examples/internal/tau"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// maxSteps is how many messages of the model the benchmark allows a conversation.
const maxSteps = 30

// stopWord is how the simulated user of the benchmark ends a conversation.
const stopWord = "###STOP###"

// A frontDesk is one agent that serves all conversations, each on its own copy of
// the database.
type frontDesk struct {
	agent    *agent.Agent
	client   *grid.Client
	market   *gridtest.Market
	weather  *weather
	recorded []*recording
	stream   bool
	grades   *grades

	capNanoUSD int64 // of a conversation

	mu  sync.Mutex
	dbs map[string]*airline.DB // by tenant
}

func openDesk(o options, capNanoUSD int64, recorded []*recording, pictures *pictures) (*frontDesk, error) {
	d := &frontDesk{recorded: recorded, stream: o.stream, dbs: make(map[string]*airline.DB), grades: newGrades(), capNanoUSD: capNanoUSD}
	d.market = gridtest.New(gridtest.Config{Seed: o.seed, ReceiptDelay: -1})
	d.market.Model(newPlayer(recorded, o.seed).answer)
	d.weather = newWeather(d.market.Transport(), o.faults, o.seed)
	var retry grid.Retry
	if o.faults > 0 {
		retry = patience()
	}
	var err error
	d.client, err = grid.New(grid.Config{
		APIKey: d.market.Key(), BaseURL: d.market.BaseURL(),
		HTTPClient: &http.Client{Transport: d.weather}, Retry: retry,
	})
	if err != nil {
		d.market.Close()
		return nil, err
	}
	d.agent, err = agent.New(agent.Config{
		Name:         "airline-desk",
		Instructions: recorded[0].Messages[0].Text(),
		Tools:        airline.Tools(d.database),
		Market:       d.client,
		// A conversation is a tenant, so that one cap holds for all its runs together.
		Store:   budget.NewMemory(budget.Volatile()),
		Caps:    []budget.Cap{{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: capNanoUSD, Per: budget.Lifetime()}},
		Limits:  agent.Limits{Steps: maxSteps + 1, RunNanoUSD: agent.None, RunTokens: agent.None},
		Tracing: pictures.tracing(),
	})
	if err != nil {
		d.client.Close()
		d.market.Close()
		return nil, err
	}
	return d, nil
}

func (d *frontDesk) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_ = d.agent.Shutdown(ctx)
	d.client.Close()
	d.market.Close()
}

// database finds the database that a call works on. The tenant was named by the
// code that started the run; a model has no way to name another.
func (d *frontDesk) database(ctx context.Context) (*airline.DB, error) {
	tenant := tools.CallFrom(ctx).Tenant
	d.mu.Lock()
	defer d.mu.Unlock()
	db, ok := d.dbs[tenant]
	if !ok {
		return nil, fmt.Errorf("there is no conversation of the name %q", tenant)
	}
	return db, nil
}

// replayAll replays all conversations, so many at once.
func (d *frontDesk) replayAll(ctx context.Context, parallel int) *report {
	played := make([]*played, len(d.recorded))
	slots := make(chan struct{}, parallel)
	var wait sync.WaitGroup
	for i, r := range d.recorded {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			played[i] = d.replay(named(ctx, r.name), r)
		})
	}
	wait.Wait()
	r := &report{instruments: make(map[string]usage), drawn: d.weather.drawn, asked: d.weather.asked, capped: d.capNanoUSD, bill: d.market.Bill("")}
	for _, p := range played {
		r.add(p)
	}
	d.market.AssertDone(r)
	return r
}

// played is what became of a recording.
type played struct {
	*recording
	messages []grid.Message
	steps    []agent.StepRecord
	cost     int64 // nano-USD, by receipts
	runs     int
	final    tau.Hashes
	grade    grade
	stopped  string   // the limit that ended it early, if one did
	trouble  []string // what should not have happened
}

// replay lets the recorded user talk to the agent. Each of the user's messages is
// a run that goes on from the one before.
func (d *frontDesk) replay(ctx context.Context, r *recording) *played {
	p := &played{recording: r}
	db := r.origin.Copy()
	d.mu.Lock()
	d.dbs[r.name] = db
	d.mu.Unlock()

	var before agent.Conversation
	for i, m := range r.Messages {
		if m.Role != "user" || strings.Contains(m.Text(), stopWord) || r.isLast(i) {
			continue
		}
		res := d.turn(ctx, p, m.Text(), before)
		if res == nil {
			break
		}
		before = res.Conversation()
		p.messages = res.Messages()
		if res.Stop != agent.StopCompleted {
			break
		}
	}

	d.mu.Lock()
	delete(d.dbs, r.name)
	d.mu.Unlock()
	p.final = hashes(db)
	var err error
	if p.grade, err = d.grades.of(ctx, p); err != nil {
		p.trouble = append(p.trouble, err.Error())
	}
	return p
}

// turn is one run: from a message of the user to the next answer in words. It is
// nil if the run could not be begun.
func (d *frontDesk) turn(ctx context.Context, p *played, text string, before agent.Conversation) *agent.Result[string] {
	opts := []agent.Option{agent.Tenant(p.name)}
	if before.Len() > 0 {
		opts = append(opts, agent.Continue(before))
	}
	live := agent.Start[string](ctx, d.agent, text, opts...)
	heard := ""
	if d.stream {
		heard = listen(live)
	}
	res, err := live.Result()
	p.runs++
	if err != nil {
		p.trouble = append(p.trouble, fmt.Sprintf("run %d: %v", p.runs, err))
	}
	if res == nil {
		return nil
	}
	if d.stream && err == nil && res.Stop == agent.StopCompleted && !strings.HasSuffix(heard, res.Text) {
		p.trouble = append(p.trouble, fmt.Sprintf("run %d: what was heard live is not the answer", p.runs))
	}
	if err == nil && res.Stop != agent.StopCompleted && res.Stop != agent.StopTool {
		p.stopped = fmt.Sprintf("run %d stopped (%s): %s", p.runs, res.Stop, res.Reason)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := agent.Reconcile(ctx, d.agent, res); err != nil {
		p.trouble = append(p.trouble, fmt.Sprintf("run %d: %v", p.runs, err))
	}
	p.steps = append(p.steps, res.Steps...)
	p.cost += res.Cost.NanoUSD
	return res
}

// listen reads a run's text as it is written, less what was taken back.
func listen(live *agent.Live[string]) string {
	var kept, step strings.Builder
	for e := range live.Events() {
		switch e := e.(type) {
		case agent.TextDelta:
			step.WriteString(e.Text)
		case agent.TextDiscarded:
			step.Reset()
		case agent.StepDone:
			kept.WriteString(step.String())
			step.Reset()
		}
	}
	return kept.String() + step.String()
}
