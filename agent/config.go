package agent

import (
	"context"
	"io/fs"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/router"
	"github.com/gridloop/gridloop/tools"
	"github.com/gridloop/gridloop/tracing"
)

// Config makes an [Agent]. Only Name is required; the zero value of every other
// field is a sensible default, which [Agent.Explain] prints.
type Config struct {
	Name         string // of the agent: letters, digits, - and _; it is in traces and keys
	Description  string // what it is for, for traces and for agents that call it
	Instructions string // the system message

	Tools []tools.Tool

	// Agents are called like tools, under their names: each call is a run of its
	// own, with the Limits of the agent that is called, RunNanoUSD and RunTokens
	// among them, and reserves on the caps of every run above it, too; with Limits.Carved
	// its share is kept for it. It spends from
	// this agent's ledger, bounded by its estimates: caps that only the called agent's
	// own Caps, File or Ledger know are refused here, for they would not count.
	//
	// Calls of an agent whose tools are all read-only, and so on below, run at the same
	// time like those of read-only tools; others alone, in call order.
	Agents []*Agent

	// File is the one reviewed file of instruments, routes, caps and limits,
	// gridloop.yaml by custom. Limits that are set differently here and there, and
	// routes beside a Router, are errors; caps add up; its instruments change the
	// catalogue of Market, for every agent that uses it.
	File string
	// FS is where File is. Nil: the operating system. An embed.FS makes a service
	// of one binary.
	FS fs.FS

	// Market is the client to spend with. Nil makes one from the environment
	// variable THEGRID_API_KEY, which Shutdown then closes.
	Market *grid.Client

	// Router decides which instrument serves a step. Nil: the routes of File,
	// else router.Default.
	Router router.Router

	// Store keeps caps and reservations. Nil keeps them in memory, where only
	// caps of single runs can hold; Caps with a window need a durable store, or
	// budget.NewMemory(budget.Volatile()).
	Store budget.Store
	// Caps bound what is spent, beside the cap that every run has by Limits.
	Caps []budget.Cap
	// Ledger shares one ledger, and so its caps, between agents, instead of
	// Store and Caps. The agent does not close it.
	Ledger *budget.Ledger

	Limits Limits

	// Spending says how prompts are bounded, and what an overrun halts.
	Spending Spending

	// Reconcile corrects the ledger by receipts in the background. Zero: off; call
	// the func Reconcile for the results that matter.
	Reconcile Reconciliation

	// Params are sent with every model step, like those of File's section params.
	Params grid.Params
	// Tune changes them for one step, and the bound on its answer, when the step was
	// routed and before anything is reserved. It is called for each model step that is
	// asked, never on replay, and must be safe for concurrent use.
	Tune func(ctx context.Context, step StepInfo, t *StepTuning)
	// Kind is the router's kind of an ordinary step. Empty: tools when the agent
	// has tools, else extract for a structured output, else text.
	Kind router.Kind

	// Blobs keeps the content of runs. Nil: memory, one store for each run.
	Blobs Blobs

	// Tracing shows runs in OpenTelemetry. Nil: tracing.New with its zero
	// configuration, which follows the providers that the service has set and
	// costs next to nothing when there are none.
	Tracing *tracing.Tracing
}
