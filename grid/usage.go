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
	u := &Usage{Raw: append(json.RawMessage(nil), raw...)}
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
			readDetail(&s, "cached_tokens", &u.CachedTokens)
		case "completion_tokens_details", "output_tokens_details":
			readDetail(&s, "reasoning_tokens", &u.ReasoningTokens)
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

func readDetail(s *scan, name string, to **int64) {
	if s.peek() != '{' {
		s.value()
		return
	}
	for ok := s.enter('{', '}'); ok && !s.bad; ok = s.more('}') {
		if string(s.key()) != name {
			s.value()
			continue
		}
		if n, ok := count(s.value()); ok {
			*to = &n
		}
	}
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
