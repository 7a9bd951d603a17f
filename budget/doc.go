// Package budget decides what a step may spend: caps, reserve, settle.
//
// A call to a model is paid for after the fact, so a cap that only looks at what was spent lets every call in flight
// through. Here a call first reserves an upper bound of its cost on all caps that concern it, in one atomic step, and
// afterwards settles what it really used:
//
//	           Reserve                 Settle(actual)
//	(nothing) ----------> open -----------------------------> settled <-- TrueUp(receipt)
//	                       | \-- Void(proof), only if surely not billed --> voided
//	                       | \-- Charge, if nobody knows --> charged at the bound --.
//	                       '---- the lease runs out ------> expired, charged too ---+--> settled, by a late Settle
//
// At every instant, for every cap, settled + held <= limit + recorded overrun: for any number of goroutines, of replicas on
// one [Store], and of crashes. A reservation whose owner died is charged and not given back, because nobody can know
// whether its call was billed; a late Settle or a receipt refunds the difference. Overrun exists only if a call used more
// than its bound, or if a receipt takes back what usage had refunded too early. So the true bill stays within the cap as
// long as the bounds, and the usage that settles them, are true.
//
// A [Cap] limits a [Meter] (money in nano-USD, tokens, requests, tool calls, or one of your own) for a [Target] (one tenant,
// each tenant, one instrument, the account) per [Window] (a calendar day in a zone, a fixed stretch, the last 24 hours, a lifetime). A refusal
// is a [DeniedError]: it names every cap that refused, whether it is held by calls in flight, spent, or too small for the
// request at any time, and when it resets.
//
// Money is an int64 of nano-USD, 1e-9 dollars. Nothing here knows about models or HTTP, and nothing runs in the background.
package budget
