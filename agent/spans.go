package agent

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/tracing"
)

func (r *run) startSpan(ctx context.Context) (context.Context, *tracing.RunSpan) {
	return r.a.tracing.Run(ctx, tracing.RunStart{Agent: r.a.cfg.Name, Description: r.a.cfg.Description, RunID: r.id, Resumed: tracing.ParseTraceparent(r.state.Trace)})
}

func (r *run) endSpan(span *tracing.RunSpan, err error) {
	s := &r.state
	end := tracing.RunEnd{
		StopReason: string(s.Stop), Steps: s.Taken, ModelCalls: s.Totals.ModelCalls, ToolCalls: s.Totals.ToolCalls,
		InputTokens: s.Totals.InputTokens, OutputTokens: s.Totals.OutputTokens, CostNanoUSD: s.Totals.CostNanoUSD,
		Retries: s.Totals.Attempts - s.Totals.ModelCalls, Escalations: s.Totals.Escalations,
	}
	for _, step := range s.Steps {
		if step.Instrument != "" && !slices.Contains(end.Instruments, step.Instrument) {
			end.Instruments = append(end.Instruments, step.Instrument)
		}
	}
	switch {
	case errors.Is(err, ErrParked):
		end.StopReason = string(StopPaused)
	case err != nil:
		end.Err, end.ErrorType = err, "executor"
	case s.Stop == StopError || s.Stop == StopInvalidOutput || s.Stop == StopCanceled:
		end.Err, end.ErrorType = errors.New(string(s.Stop)), string(s.Stop)
		if s.Failure != nil {
			end.ErrorType = s.Failure.Class
		}
	}
	r.state.Trace = span.Traceparent()
	span.End(end)
}

// chatCtx is the context of the chat span, or of the run before there is one.
func (c *modelCall) chatCtx() context.Context {
	if c.spanCtx != nil {
		return c.spanCtx
	}
	return c.base
}

// openSpan opens the chat span at its first attempt, with its true start: a call
// that was denied before it makes none.
func (c *modelCall) openSpan(ctx context.Context) {
	if c.span != nil {
		return
	}
	r, p := c.r, c.params
	addr, port := r.client.Host()
	c.spanCtx, c.span = r.a.tracing.Chat(ctx, tracing.ChatStart{
		Start: c.started, Agent: r.a.cfg.Name, Instrument: c.instrument.ID, Family: c.instrument.Family, Tier: c.instrument.Tier,
		Step: c.in.Step, Kind: c.in.Kind, Final: c.in.Final, Route: c.routed(), ReservedNanoUSD: c.reserved, ServerAddress: addr, ServerPort: port, Stream: c.stream, MaxTokens: int64(c.maxTokens),
		Temperature: p.Temperature, TopP: p.TopP, Seed: p.Seed, Stop: p.Stop, OutputJSON: c.in.Schema, ReasoningEffort: deref(p.ReasoningEffort),
		Input: func() string { return r.contentOf(ctx, c.in.Messages) },
	})
}

func (c *modelCall) routed() tracing.Route {
	return tracing.Route{Policy: c.rec.Policy, Reason: c.rec.Reason, Rule: c.rec.Rule, Requested: c.rec.Requested, Escalated: c.in.Escalation > 0}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (c *modelCall) closeSpan(resp *grid.Response, err error) {
	if c.span == nil {
		return
	}
	end := tracing.ChatEnd{
		End: time.Now(), InputTokens: c.rec.InputTokens, OutputTokens: c.rec.OutputTokens, UsageKnown: resp != nil && resp.Usage != nil,
		CostNanoUSD: c.rec.CostNanoUSD, CostSource: "estimate", Attempts: len(c.rec.Attempts),
		RetryWait: c.rec.RetryWait, TopUpWait: c.rec.Waited, StreamReason: string(c.rec.StreamReason),
	}
	if c.rec.LeftNanoUSD >= 0 {
		end.RemainingNanoUSD = &c.rec.LeftNanoUSD
	}
	if c.rec.Waited > 0 {
		end.TopUpOutcome = "settled"
		if err != nil {
			end.TopUpOutcome = "timed_out"
		}
	}
	if resp != nil {
		end.ResponseModel, end.ResponseID, end.RequestID, end.FinishReason, end.FirstChunk = resp.Model, resp.ID, resp.RequestID, resp.FinishReason, resp.FirstDelta
		if u := resp.Usage; u != nil {
			end.CachedTokens, end.ReasoningTokens = u.CachedTokens, u.ReasoningTokens
		}
		if len(resp.Message.ToolCalls) > 0 {
			end.FinishReason = "tool_calls"
		}
		end.Output = func() string { return messagesJSON(resp.Message) }
	}
	if err != nil {
		end.Err, end.ErrorType = err, chatErrorType(err)
	}
	c.span.End(end)
}

func chatErrorType(err error) string {
	var ge *grid.Error
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.As(err, &ge):
		return string(ge.Class)
	}
	return "_OTHER"
}

// contentOf is the conversation in the form of the conventions. It is made only
// when the user opted in to content and the span is recorded.
func (r *run) contentOf(ctx context.Context, refs []*MessageRef) string {
	msgs := make([]grid.Message, 0, len(refs))
	for _, ref := range refs {
		if m, err := loadMessage(ctx, r.blobs, *ref); err == nil {
			msgs = append(msgs, m)
		}
	}
	return messagesJSON(msgs...)
}

type contentMessage struct {
	Role  string        `json:"role"`
	Parts []contentPart `json:"parts"`
}

type contentPart struct {
	Type      string          `json:"type"`
	Content   string          `json:"content,omitempty"`
	ID        string          `json:"id,omitempty"`
	Name      string          `json:"name,omitempty"`
	Arguments json.RawMessage `json:"arguments,omitempty"`
	Response  *string         `json:"response,omitempty"`
}

func messagesJSON(msgs ...grid.Message) string {
	out := make([]contentMessage, 0, len(msgs))
	for _, m := range msgs {
		cm := contentMessage{Role: m.Role, Parts: []contentPart{}}
		text := m.Text()
		if m.Role == "tool" {
			cm.Parts = append(cm.Parts, contentPart{Type: "tool_call_response", ID: m.ToolCallID, Response: &text})
		} else if text != "" {
			cm.Parts = append(cm.Parts, contentPart{Type: "text", Content: text})
		}
		for _, c := range m.ToolCalls {
			part := contentPart{Type: "tool_call", ID: c.ID, Name: c.Name}
			if json.Valid([]byte(c.Arguments)) {
				part.Arguments = json.RawMessage(c.Arguments)
			}
			cm.Parts = append(cm.Parts, part)
		}
		out = append(out, cm)
	}
	b, err := json.Marshal(out)
	if err != nil {
		return ""
	}
	return string(b)
}
