// Package tracing makes a run visible: spans, metrics and events through the OpenTelemetry API. It brings no SDK, starts
// no exporter and sets no global provider; without an SDK in the program it costs next to nothing.
//
//	invoke_agent desk              INTERNAL   Run
//	├─ chat agent-prime            CLIENT     Chat: one model call with all its attempts; tokens and cost stand here, once
//	│  ├─ POST                     CLIENT     Attempt: 402
//	│  ├─ gridloop.topup_wait ...  INTERNAL   TopUpWait
//	│  └─ POST                     CLIENT     Attempt: 200, http.request.resend_count=1
//	├─ execute_tool lookup_order   INTERNAL   Tool
//	└─ chat text-prime             CLIENT
//
// Names follow the GenAI semantic conventions v0.1.0 (open-telemetry/semantic-conventions-genai). What they do not cover
// begins with gridloop. Every event is a log record that carries the span's context.
//
// # Sums add up
//
// Tokens and cost are recorded once per model call, on the chat span and on the counters. Adding up
// gridloop.cost.nano_usd over chat spans and over gridloop.cost.adjusted events gives the ledger. Totals of a run are named
// gridloop.run.*, so that no sum over all spans counts twice. For the same reason the usage that the conventions recommend on
// invoke_agent is off unless [Config].RunUsage asks for it.
//
// # Content
//
// Prompts, answers, tool arguments and results are sensitive. They are recorded only if [Config].Content or the variable
// OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT asks for it. Texts of errors are never recorded, because providers
// quote prompts in them, but for gridloop.market.unknown_refusal: a failed span says error.type and nothing more. On spans content is one JSON string, which
// today's backends read, although the conventions prefer structure where a language has it; on events it is structured.
//
// # Values of error.type
//
// Model calls and attempts: the HTTP status ("402", "429", "500", "503"), timeout, canceled, connection_error,
// invalid_response, stream_interrupted. Runs: budget_exceeded, max_steps, loop_detected. Tools: tool_not_found,
// invalid_arguments, tool_error, panic. Everything else: _OTHER.
package tracing
