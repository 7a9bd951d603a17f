package agent

import (
	"context"
	"encoding/json"
	"time"

	openai "github.com/sashabaranov/go-openai"

	"github.com/gridloop/gridloop/grid"
)

// Result is what a run came to. It stands beside every error: whatever stopped
// the run, the history, the usage and the cost are here.
type Result[T any] struct {
	Output T      // the answer; the zero value when there is none
	Text   string // the answer as text, also when it did not fit T
	Final  bool   // the model gave Text as its answer; false: it is the last text of a run that was stopped
	Stop   Stop   // why the run ended
	Reason string // the same in one sentence

	Run       string // the run's id
	Cost      Cost
	Usage     Totals
	Steps     []StepRecord  // one for each model step
	Elapsed   time.Duration // working time: without waits for top-ups and people
	Waited    time.Duration // waited for top-ups
	Abandoned []string      // tools that ignored their context and still run

	state   State
	blobs   Blobs
	counted counted // by the market
	agent   *Agent
}

// History is the transcript as go-openai messages, instructions first. It is
// valid: every tool call is answered exactly once, in call order, also after a
// cancel, a panic or a pause.
func (r *Result[T]) History() []openai.ChatCompletionMessage {
	msgs := r.Messages()
	out := make([]openai.ChatCompletionMessage, len(msgs))
	for i, m := range msgs {
		out[i] = m.OpenAI()
	}
	return out
}

// Messages is the transcript with nothing lost: fields that go-openai has no
// place for are in Message.Extra. It ends early only if Config.Blobs lost
// content.
func (r *Result[T]) Messages() []grid.Message {
	if r == nil || r.blobs == nil {
		return nil
	}
	refs := r.state.closed()
	out := make([]grid.Message, 0, len(refs))
	for _, ref := range refs {
		m, err := loadMessage(context.Background(), r.blobs, *ref)
		if err != nil {
			return out
		}
		out = append(out, m)
	}
	return out
}

// OpenAIUsage is the usage of the run as a go-openai value.
func (r *Result[T]) OpenAIUsage() openai.Usage {
	return openai.Usage{
		PromptTokens:     int(r.Usage.InputTokens),
		CompletionTokens: int(r.Usage.OutputTokens),
		TotalTokens:      int(r.Usage.InputTokens + r.Usage.OutputTokens),
	}
}

// Conversation is the transcript as the start of another run: see [Continue].
func (r *Result[T]) Conversation() Conversation {
	if r == nil || r.blobs == nil {
		return Conversation{}
	}
	c := Conversation{blobs: r.blobs, counted: r.counted, agent: r.agent}
	for i, ref := range r.state.closed() {
		if i == 0 && ref.Role == "system" {
			continue // the next run brings its own instructions
		}
		c.refs = append(c.refs, ref)
	}
	return c
}

// Conversation is an earlier transcript that a run goes on from.
type Conversation struct {
	refs    []*MessageRef
	blobs   Blobs
	counted counted // by the market, for agent
	agent   *Agent
}

// Len is the number of messages.
func (c Conversation) Len() int { return len(c.refs) }

// State is the run's state as data: for tests, journals and post-mortems.
func (r *Result[T]) State() json.RawMessage {
	data, err := json.Marshal(r.state)
	if err != nil {
		return nil // State holds nothing that cannot be encoded
	}
	return data
}

func loadMessage(ctx context.Context, blobs Blobs, ref MessageRef) (grid.Message, error) {
	if ref.Inline != nil {
		if ref.Role == "tool" {
			return grid.ToolMessage(ref.Inline.CallID, ref.Inline.Text), nil
		}
		return grid.UserMessage(ref.Inline.Text), nil
	}
	data, err := blobs.Get(ctx, ref.Hash)
	if err != nil {
		return grid.Message{}, err
	}
	return grid.DecodeMessage(data)
}
