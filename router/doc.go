// Package router decides which instrument serves a step of an agent run, and says why.
//
// An instrument is a name that can be bought and called on the market: a family (agent, code, text) joined to a tier
// (standard, prime, max), such as agent-prime. A [Router] is a pure function of the step and of a snapshot of the market:
// no clock, no randomness, no I/O. The same step and snapshot always give the same [Decision], so a decision can be
// recorded, replayed and argued about.
//
//	Step ──┐
//	       ├─> pin > hard limits > budget band > escalation > stickiness > rule > route of the kind ──> Decision
//	Snapshot┘                                                       │
//	                                          dry or down: fallback, only if declared
//
// [Table] is the router that is configured by a file. [Default] is the table that follows the platform's advice:
//
//	tools      agent-prime     choosing and planning tool calls
//	code       code-prime      writing code
//	text       text-prime      the final answer, prose
//	judge      text-prime      a judge weaker than what it judges lets mistakes pass, and one passed mistake costs more than many verdicts
//	extract    text-standard   narrow, structured work, which a schema checks
//	summarize  text-standard   volume work
//
// The max tier is an exception: a step gets there by escalation, or because its prompt is larger than prime accepts.
// With half of the tightest cap spent no step goes above prime; with a fifth left all go to standard, save the final answer.
// Lower bounds (a route's floor, a step's MinTier) are promises of quality and stand above those bands; write one for steps
// that cannot be undone. Limits that make a call impossible (context, tools, structured output, exclusion) stand above both.
//
// A dry instrument (its balance is being bought) is still chosen unless a fallback is declared: the call then waits for the
// top-up. Balances are separate, so a silent change of instrument would spend other money than the operator planned.
//
// Stickiness is off unless a route asks for it. Steps of one kind already share one instrument, and cached tokens cost the
// same as others on this market. Where it is on it keeps the family, never the tier.
package router
