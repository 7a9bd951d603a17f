package grid

// piece is one decoded object of an answer: a whole completion or one chunk of a
// stream. Everything in it points into the bytes it was read from, so that a chunk
// costs no allocation, and nothing is taken over before the whole object was found
// to be valid.
type piece struct {
	whole bool // a completion with message, rather than a chunk with delta

	id, model, usage  []byte
	supplier, quality []byte
	// failure is the value of "error" or "errors", at the top or in the choice.
	failure []byte
	// oddError tells of an error's fields at the top: detail, or message without choices.
	oddError   bool
	choices    int
	chosen     bool
	finish     []byte
	message    []byte // of a chunk that has one
	hasDelta   bool
	role       []byte
	content    []byte
	refusal    []byte
	name       []byte
	toolCallID []byte
	// functionCall is the older form of a single tool call.
	functionCall []byte
	calls        []callPiece
	extra        []rawField
}

type rawField struct{ name, value []byte }

type callPiece struct {
	index              int64
	hasIndex           bool
	id, typ            []byte
	funcName, funcArgs []byte
	extra              []rawField
}

func (p *piece) reset(whole bool) {
	*p = piece{whole: whole, calls: p.calls[:0], extra: p.extra[:0]}
}

// read decodes b and tells whether it was one valid JSON object.
func (p *piece) read(b []byte, whole bool) bool {
	if !p.readTop(b, whole, false) {
		return false
	}
	// Choices of other candidates are not ours, but a lone one with an odd index is.
	if p.choices > 0 && !p.chosen && whole {
		return p.readTop(b, whole, true)
	}
	return true
}

func (p *piece) readTop(b []byte, whole, lone bool) bool {
	p.reset(whole)
	s := scan{b: b}
	for ok := s.enter('{', '}'); ok && !s.bad; ok = s.more('}') {
		switch string(s.key()) {
		case "id":
			p.id = s.value()
		case "model":
			p.model = s.value()
		case "provider", "supplier":
			if v := s.value(); isString(v) {
				p.supplier = v
			}
		case "quality_score":
			if v := s.value(); isString(v) || len(v) > 0 && (v[0] == '-' || v[0] >= '0' && v[0] <= '9') {
				p.quality = v
			}
		case "usage":
			p.takeUsage(s.value())
		case "x_groq":
			p.readVendor(&s)
		case "error", "errors":
			p.takeFailure(s.value())
		case "detail", "message":
			if v := s.value(); !isNull(v) {
				p.oddError = true
			}
		case "choices":
			p.readChoices(&s, lone)
		default:
			s.value()
		}
	}
	return s.end()
}

func (p *piece) takeUsage(v []byte) {
	if isObject(v) {
		p.usage = v
	}
}

// takeFailure keeps what says something: some servers send an empty error with
// each good answer.
func (p *piece) takeFailure(v []byte) {
	switch string(v) {
	case "", "null", "false", `""`, "{}", "[]":
	default:
		p.failure = v
	}
}

// readVendor finds the usage that Groq's streams carry in a field of their own.
func (p *piece) readVendor(s *scan) {
	if s.peek() != '{' {
		s.value()
		return
	}
	for ok := s.enter('{', '}'); ok && !s.bad; ok = s.more('}') {
		switch string(s.key()) {
		case "usage":
			if v := s.value(); p.usage == nil {
				p.takeUsage(v)
			}
		default:
			s.value()
		}
	}
}

func (p *piece) readChoices(s *scan, lone bool) {
	if s.peek() != '[' {
		s.value()
		return
	}
	for ok := s.enter('[', ']'); ok && !s.bad; ok = s.more(']') {
		if s.peek() != '{' {
			s.value()
			continue
		}
		p.choices++
		if p.chosen {
			s.value()
			continue
		}
		p.readChoice(s, lone)
	}
}

func (p *piece) readChoice(s *scan, lone bool) {
	index := int64(0)
	p.chosen = true
	for ok := s.enter('{', '}'); ok && !s.bad; ok = s.more('}') {
		switch string(s.key()) {
		case "index":
			if v := s.value(); !lone {
				index, _ = count(v)
			}
		case "delta":
			if s.peek() != '{' || p.whole {
				s.value()
				continue
			}
			p.hasDelta = true
			p.readMessage(s)
		case "message":
			if s.peek() != '{' {
				s.value()
				continue
			}
			if p.whole {
				p.readMessage(s)
			} else {
				p.message = s.value()
			}
		case "finish_reason":
			p.finish = s.value()
		case "error":
			p.takeFailure(s.value())
		default:
			s.value()
		}
	}
	if index != 0 {
		kept := piece{
			whole: p.whole, id: p.id, model: p.model, usage: p.usage, failure: p.failure,
			oddError: p.oddError, choices: p.choices, calls: p.calls[:0], extra: p.extra[:0],
		}
		*p = kept
	}
}

func (p *piece) readMessage(s *scan) {
	for ok := s.enter('{', '}'); ok && !s.bad; ok = s.more('}') {
		name := s.key()
		switch string(name) {
		case "role":
			p.role = s.value()
		case "content":
			p.content = s.value()
		case "refusal":
			p.refusal = s.value()
		case "name":
			p.name = s.value()
		case "tool_call_id":
			p.toolCallID = s.value()
		case "function_call":
			p.functionCall = s.value()
		case "tool_calls":
			p.readCalls(s)
		default:
			if v := s.value(); !isNull(v) {
				p.extra = append(p.extra, rawField{name, v})
			}
		}
	}
}

func (p *piece) readCalls(s *scan) {
	p.calls = p.calls[:0]
	switch s.peek() {
	case '{':
		p.readCall(s)
	case '[':
		for ok := s.enter('[', ']'); ok && !s.bad; ok = s.more(']') {
			if s.peek() == '{' {
				p.readCall(s)
			} else {
				s.value()
			}
		}
	default:
		s.value()
	}
}

func (p *piece) readCall(s *scan) {
	var c callPiece
	for ok := s.enter('{', '}'); ok && !s.bad; ok = s.more('}') {
		name := s.key()
		switch string(name) {
		case "index":
			c.index, c.hasIndex = count(s.value())
		case "id":
			c.id = s.value()
		case "type":
			c.typ = s.value()
		case "function":
			c.readFunction(s, "arguments")
		case "custom":
			c.readFunction(s, "input")
		default:
			if v := s.value(); !isNull(v) {
				c.extra = append(c.extra, rawField{name, v})
			}
		}
	}
	p.calls = append(p.calls, c)
}

func (c *callPiece) readFunction(s *scan, text string) {
	if s.peek() != '{' {
		s.value()
		return
	}
	for ok := s.enter('{', '}'); ok && !s.bad; ok = s.more('}') {
		switch name := s.key(); string(name) {
		case "name":
			c.funcName = unlessEmpty(c.funcName, s.value())
		case text:
			c.funcArgs = unlessEmpty(c.funcArgs, s.value())
		default:
			s.value()
		}
	}
}

// unlessEmpty keeps what was read before: some servers send the form of a call that
// they don't use beside the one they do, with nothing in it.
func unlessEmpty(before, raw []byte) []byte {
	if before != nil && (isNull(raw) || string(raw) == `""`) {
		return before
	}
	return raw
}

// toolCall is the call as one whole.
func (c *callPiece) toolCall() ToolCall {
	call := ToolCall{
		ID: unquoted(c.id), Type: unquoted(c.typ), Name: unquoted(c.funcName),
		Arguments: string(appendText(nil, c.funcArgs)),
	}
	for _, f := range c.extra {
		call.Extra = setField(call.Extra, string(f.name), append([]byte(nil), f.value...))
	}
	return call
}

// appendText appends a string's meaning, nothing for null, and the JSON itself of
// any other value: some servers send arguments as an object.
func appendText(dst, raw []byte) []byte {
	switch {
	case isNull(raw):
		return dst
	case isString(raw):
		return appendUnquoted(dst, raw)
	}
	return append(dst, raw...)
}

func isObject(raw []byte) bool { return len(raw) > 0 && raw[0] == '{' }
