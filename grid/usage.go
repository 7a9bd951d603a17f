package grid

import (
	"encoding/json"
	"math"

	openai "github.com/sashabaranov/go-openai"
)

// Usage counts the tokens of one answer, as the provider counted them.
type Usage struct {
	// PromptTokens and CompletionTokens are what went in and what came out.
	PromptTokens, CompletionTokens int64
	// TotalTokens is never less than their sum; it is more where a provider counts
	// reasoning beside the completion.
	TotalTokens int64
	// CachedTokens and ReasoningTokens are parts of the prompt and of what came out;
	// nil means that the provider did not say.
	CachedTokens, ReasoningTokens *int64
	// Raw is the usage object as received.
	Raw json.RawMessage
}

// readUsage returns nil where the object counts nothing.
func readUsage(raw []byte) *Usage {
	if !isObject(raw) {
		return nil
	}
	// What the details count stands beside, so that all of it is one piece of memory.
	counted := &struct {
		Usage
		cached, reasoning int64
	}{}
	u := &counted.Usage
	u.Raw = append(json.RawMessage(nil), raw...)
	known := false
	take := func(to *int64, v []byte) {
		if n, ok := count(v); ok {
			*to = n
			known = true
		}
	}
	s := scan{b: u.Raw}
	for ok := s.enter('{', '}'); ok && !s.bad; ok = s.more('}') {
		switch string(s.key()) {
		case "prompt_tokens", "input_tokens":
			take(&u.PromptTokens, s.value())
		case "completion_tokens", "output_tokens":
			take(&u.CompletionTokens, s.value())
		case "total_tokens":
			take(&u.TotalTokens, s.value())
		case "prompt_tokens_details", "input_tokens_details":
			if readDetail(&s, "cached_tokens", &counted.cached) {
				u.CachedTokens = &counted.cached
			}
		case "completion_tokens_details", "output_tokens_details":
			if readDetail(&s, "reasoning_tokens", &counted.reasoning) {
				u.ReasoningTokens = &counted.reasoning
			}
		default:
			s.value()
		}
	}
	if s.bad || !known {
		return nil
	}
	u.TotalTokens = max(u.TotalTokens, u.PromptTokens+u.CompletionTokens)
	return u
}

// readDetail reports whether an object has the count of that name.
func readDetail(s *scan, name string, to *int64) (found bool) {
	if s.peek() != '{' {
		s.value()
		return false
	}
	for ok := s.enter('{', '}'); ok && !s.bad; ok = s.more('}') {
		if string(s.key()) != name {
			s.value()
			continue
		}
		if n, ok := count(s.value()); ok {
			*to, found = n, true
		}
	}
	return found
}

// OpenAI returns the usage as go-openai's value.
func (u Usage) OpenAI() openai.Usage {
	out := openai.Usage{
		PromptTokens: clampInt(u.PromptTokens), CompletionTokens: clampInt(u.CompletionTokens),
		TotalTokens: clampInt(u.TotalTokens),
	}
	if u.CachedTokens != nil {
		out.PromptTokensDetails = &openai.PromptTokensDetails{CachedTokens: clampInt(*u.CachedTokens)}
	}
	if u.ReasoningTokens != nil {
		out.CompletionTokensDetails = &openai.CompletionTokensDetails{ReasoningTokens: clampInt(*u.ReasoningTokens)}
	}
	return out
}

func clampInt(n int64) int { return int(max(min(n, math.MaxInt), math.MinInt)) }
