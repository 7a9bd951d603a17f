// Package grid is the wire to The Grid, a market for inference that speaks the chat
// completions API of OpenAI and sells tokens as instruments ("agent-prime") from a
// prepaid balance.
//
//	Chat -> attempt: Begin -> POST /v1/chat/completions -> 307 -> supplier -> answer -> End
//	            |                      | 402, 503: wait for a top-up, within Request.Wait
//	            +---- backoff <--------+ 429, 5xx, cut stream: ask again, within Retry
//
// A Client follows the market's redirect with its own code, reads JSON and event streams
// as real providers send them, waits for a dry balance to be filled, and is the one owner
// of retries. While a balance is dry one call at a time asks it, and all others wait in
// line, in order within a Request.Tenant and the tenants in turn; an instrument's retry
// budget, breaker, pauses and Config.Rates are shared by all calls, too. An Observer stands around each attempt that may be billed; that is where
// money is reserved and settled.
//
//	client, err := grid.New(grid.Config{}) // the key in THEGRID_API_KEY
//	res, err := client.Chat(ctx, &grid.Request{
//		Instrument: "agent-prime",
//		Messages:   []grid.Message{grid.UserMessage("Say hello.")},
//		Wait:       grid.DefaultWait,
//	})
//	fmt.Println(res.Message.Text())
//
// Conversations of many turns go through a Transcript, which encodes each message once.
//
// Money is integer nano-USD (1e-9 USD), prices are nano-USD per Unit of 1,000,000 tokens.
// Neither keys nor the tokens of redirects are in any error.
package grid
