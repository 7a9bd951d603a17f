package grid

import (
	"bytes"
	"strconv"
	"strings"
)

// passedBody is a request that somebody else encoded.
type passedBody struct {
	b      []byte
	model  string
	stream bool
	n      int64
	max    int64
	// spans are the values that may be rewritten, as they stand; bounded tells whether a
	// bound on the answer is among them.
	spans   []passedSpan
	bounded bool
}

type passedSpan struct {
	field    string
	from, to int
}

func (p *passedBody) span(field string, s *scan) []byte {
	v := s.value()
	p.spans = append(p.spans, passedSpan{field, s.i - len(v), s.i})
	return v
}

func (p *passedBody) read() bool {
	s := scan{b: p.b}
	members := 0
	for ok := s.enter('{', '}'); ok && !s.bad; ok = s.more('}') {
		members++
		switch name := string(s.key()); name {
		case "model":
			p.model = unquoted(s.value())
		case "stream":
			p.stream = string(p.span(name, &s)) == "true"
		case "stream_options":
			p.span(name, &s)
		case "n":
			p.n, _ = count(s.value())
		case TokenFieldMax, TokenFieldCompletion:
			p.bounded = true
			if n, ok := count(p.span(name, &s)); ok {
				p.max = max(p.max, n)
			}
		default:
			s.value()
		}
	}
	return s.end() && members > 0
}

// size is that of the body with its bound, but for the bound's digits.
func (p *passedBody) size() int {
	if !p.bounded {
		return len(p.b) + len(`"max_tokens":,`)
	}
	return len(p.b)
}

func (p *passedBody) maxTokens() int {
	if p.max == 0 {
		return DefaultMaxTokens
	}
	return clampInt(p.max)
}

// rewritten returns the body with bound for every bound on the answer, unless that is
// 0, and without streaming if it is to come whole.
func (p *passedBody) rewritten(bound int, whole bool) []byte {
	if bound == 0 && !whole {
		return p.b
	}
	out := make([]byte, 0, len(p.b)+40)
	from := 0
	if bound > 0 && !p.bounded {
		// Put it in front: the object is known to have members.
		from = bytes.IndexByte(p.b, '{') + 1
		out = append(append(out, p.b[:from]...), `"max_tokens":`...)
		out = append(strconv.AppendInt(out, int64(bound), 10), ',')
	}
	for _, at := range p.spans {
		value := ""
		switch {
		case at.field == "stream" && whole:
			value = "false"
		case at.field == "stream_options" && whole:
			value = "null" // it is refused without a stream
		case strings.HasPrefix(at.field, "max_") && bound > 0:
			value = strconv.Itoa(bound)
		default:
			continue
		}
		out = append(append(out, p.b[from:at.from]...), value...)
		from = at.to
	}
	return append(out, p.b[from:]...)
}
