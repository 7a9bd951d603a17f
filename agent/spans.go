package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/tracing"
)

func (r *run) startSpan(ctx context.Context) (context.Context, *tracing.RunSpan) {
	return r.a.tracing.Run(ctx, tracing.RunStart{Agent: r.a.cfg.Name, Description: r.a.cfg.Description, RunID: r.id, Resumed: r.traced})
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
	r.traced = span.SpanContext()
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
	r, p := c.r, &c.r.a.cfg.Params
	addr, port := r.client.Host()
	c.spanCtx, c.span = r.a.tracing.Chat(ctx, tracing.ChatStart{
		Start: c.started, Agent: r.a.cfg.Name, Instrument: c.instrument.ID, Family: c.instrument.Family, Tier: c.instrument.Tier,
		Step: c.in.Step, Route: tracing.Route{Policy: c.rec.Policy, Reason: c.rec.Reason, Rule: c.rec.Rule, Requested: c.rec.Requested},
		Escalated: c.in.Escalation > 0, ServerAddress: addr, ServerPort: port, Stream: c.streams(), MaxTokens: int64(c.maxTokens),
		Temperature: p.Temperature, TopP: p.TopP, Seed: p.Seed, Stop: p.Stop, OutputJSON: c.in.Schema,
	})
}

func (c *modelCall) closeSpan(resp *grid.Response, err error) {
	if c.span == nil {
		return
	}
	end := tracing.ChatEnd{
		End: time.Now(), InputTokens: c.rec.InputTokens, OutputTokens: c.rec.OutputTokens, UsageKnown: resp != nil && resp.Usage != nil,
		CostNanoUSD: c.rec.CostNanoUSD, CostSource: "estimate", Attempts: len(c.rec.Attempts),
		RetryWait: c.rec.RetryWait, TopUpWait: c.rec.Waited, ReservedNanoUSD: c.reserved,
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
		end.Output = func() string { return resp.Message.Text() }
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
