// Package gridtest is The Grid in a test binary, as net/http/httptest is a web
// server in one: the wire, the balances and the true bill of the platform, with
// models that say what a test wants them to say.
//
//	client --POST /v1/chat/completions--> router   401 404 422 402 503, else
//	       <-----307 /r/v1/...?token=-----         a token for one use
//	       --POST /r/v1/chat/completions-> supplier script or func answers,
//	       <--------JSON or events---------        lots are drawn, the bill grows
//	       --GET /v1/usage/:id-----------> receipt  pending first, settled later
//
// A [Market] is one account. Reach it by [Market.URL], a loopback server, or by
// [Market.Transport], an in-memory http.RoundTripper that also works inside a
// testing/synctest bubble, where a purchase of 1.5 s takes no time at all.
//
// Models speak by [Market.Script], per conversation and with assertions, or by
// [Market.Model]. Faults come by [Market.Fault]. What everything cost is told by
// [Market.Bill] and [Market.Requests]; what went wrong by [Market.AssertDone].
//
// The market's clock is time.Now: purchases arrive, lots expire and receipts
// settle when they are due, without a goroutine of their own.
//
// # Assumptions
//
// What the platform does not document is assumed, and marked where it is built:
//
//   - A-01 prices: no fixed prices are published; [Nine] has plausible ones.
//   - A-02 the texts of a 401, 404, 422 and of a 402 and 503, which carry no
//     Retry-After. A 402 for empty credits and one for a dry instrument read the same.
//   - A-03 /v1/models needs no key, lists every instrument, and has the fields
//     context_window, max_input_tokens, max_output_tokens, status,
//     pricing.unit_price_usd and capabilities.
//   - A-04 the token of a redirect is good for one use within a minute, names
//     the account, and wants the same body; the second hop needs no key.
//   - A-05 a dry instrument answers 402 to the request that starts the purchase
//     and 503 to those that come during it. [Dry] has the other readings.
//   - A-06 a request may start while the balance is above zero; nothing is
//     reserved for it. What it draws past the last lot is an overdraft at the
//     price of the lot drawn last, and is taken from the next lot.
//   - A-07 without credits every instrument answers 402, also one that has
//     tokens left. A purchase locks its credits when it starts, and buys less
//     when they do not suffice.
//   - A-08 what a supplier began is billed in full: cut and cancelled answers,
//     dropped connections, answers without a body or choices. An error status
//     is not billed. [Config.CutUnbilled] has the other reading.
//   - A-09 bought lots do not expire, unless [TopUp.Window] says so. Lots are
//     drawn soonest expiring first.
//   - A-10 errors behind the redirect have a supplier's envelope,
//     {"error":{"message":...}}; x-grid-request-id is on all answers of the
//     second hop and on none of the first.
//   - A-11 a supplier answers 400 to a history in which a tool call is not
//     answered exactly once, by the messages right behind it.
//   - A-12 a request without a model, a prompt above the instrument's input
//     limit or a max_tokens above its output limit gets 422; instruments are
//     found in any case.
//   - A-13 n above 1 is not simulated: 422.
//   - A-14 a receipt is not wrapped in "data"; all keys of the account see it.
//     A request that was not billed has the status error and the amount 0.
//   - A-15 /v1/diagnostics checks the key, the credits and each balance.
//   - A-16 the Trading API's consumption balances are in Units, its lists are
//     in "data", /me says the account's mode, and system settings stand bare.
//
// [Questions] lists those that [Config.Profile] can read otherwise; what has to
// hold whatever the platform does is tested under all [Profiles].
package gridtest
