// Package agent runs tasks with tools on The Grid: a loop that asks a model,
// calls tools, and never spends past a cap.
//
//	Start -> State -> Step -> ops -> Executor -> handler -> Outcome -> Step -> ... -> Result
//	                                                |
//	  model op:  route -> reserve -> [attempt]* -> settle
//	  tool op:   validate -> approve? -> reserve, if a cap counts it -> call -> settle
//	  verify op: judge a candidate     run op: another agent     sleep, await: time and people
//
// Six words are enough to embed it. An agent has instructions and tools. A tool
// is a Go func. An instrument is what serves a step: a family and a tier of the
// market. A cap bounds what is spent. A run is one task. A result stands beside
// every error.
//
//	desk, err := agent.New(agent.Config{
//		Name: "refund-desk", Instructions: "You handle refunds.",
//		Tools: []tools.Tool{
//			tools.New("lookup_order", "Read one order.", lookupOrder, tools.ReadOnly()),
//			tools.New("refund", "Pay money back.", payBack, tools.NeedsApproval()),
//		},
//	})
//	res, err := agent.Run[Verdict](ctx, desk, "Order 42 came late", agent.Tenant("acme"))
//
// # What holds
//
// The loop is a pure function, [Step]: everything that touches the world is an
// [Op], and what came of it an [Outcome]. Limits are on by default, see [Limits];
// at any of them the run ends with an answer, paid from an allowance that was
// reserved at the start, else with its last text and Final false.
//
// Before each request that may be billed, the upper bound of its cost is
// reserved on every cap of the run, atomically; when money is short max_tokens is
// lowered with the reservation. Afterwards it is settled by the usage, or charged
// in full when nobody knows. The cap holds under three assumptions: the supplier
// keeps to max_tokens, a prompt has no more tokens than bytes plus the template
// allowance, and lots cost no more than the price ceiling. [Reconcile] replaces
// estimates by receipts.
//
// A dry balance (402, 503) is a state of the loop, not an error: the run waits,
// within its wait budget, and pauses when that is used up. Whether tools are
// called decides what comes next, never a finish reason. A history is valid at
// every exit: each tool call is answered exactly once, in call order. A tool that
// fails, panics or is slow is a result for the model. Breaking out of
// [Live.Events] stops the spending.
//
// # Goroutines
//
// [Run] and [Live.Result] run on the caller's goroutine; reading events adds one,
// and parallel tool calls one each. All of them end before the run does, except a
// tool that ignores its context: it is named in [Result.Abandoned]. With
// [Config.Reconcile] the agent has one goroutine of its own until Shutdown.
package agent
