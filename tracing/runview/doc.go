// Package runview draws runs. It is a span exporter for the OpenTelemetry SDK that keeps the spans of gridloop and writes
// them as one HTML page, or each run as one SVG: steps, the instrument of each and why it was chosen, attempts (402, 429,
// retries), waits for top-ups, tools side by side, agents that call agents, tokens, cost, what the caps had left, and why
// the run stopped.
//
//	agent ── tracing ── TracerProvider ── Exporter ── WriteHTML  one page, all runs
//	                                              └── WriteSVG   one run, for a README or a ticket
//
// The page stands alone: it loads nothing, runs no script, and says so in its own content security policy. Names and
// contents are text and never markup. Long runs are folded, long waits are drawn shortened with a break in the time
// axis. What a run asked and answered is shown only if content was recorded on its spans (see tracing.Config.Content), and
// then it is in the page: treat the file as you treat the traces.
//
// In a service, the page can be a handler behind your own authentication:
//
//	mux.HandleFunc("GET /debug/runs", func(w http.ResponseWriter, _ *http.Request) { view.WriteHTML(w) })
//
// Equal spans give equal bytes. Only spans of gridloop's own tracer are kept; of other spans nothing but who their parent is.
package runview
