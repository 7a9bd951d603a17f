package grid

import (
	"bytes"
	"encoding/json"
	"hash/fnv"
	"strconv"
)

// assembly puts an answer together from its pieces: one for a JSON body, many for
// a stream.
type assembly struct {
	live                    bool // somebody watches: text is wanted as it comes
	id, model, role, finish string
	supplier, quality       string
	text, refusal           []byte
	hasText                 bool
	parts                   partList
	slots                   []slot
	extra                   []gathered
	usage                   []byte
	choices                 int
	known                   known
	done                    bool // [DONE] was read
	over                    bool // more came than maxCalls or maxFields
}

// tellable bounds what an answer says of who served it.
func tellable(s string) string {
	if s = printable(s); len(s) > maxSignal {
		return ""
	}
	return s
}

const maxSignal = 128

// maxCalls and maxFields bound what one message may hold. Each new one is looked for
// among those before it.
const (
	maxCalls  = 1024
	maxFields = 1024
)

// slot gathers one tool call.
type slot struct {
	index         int64
	hasIndex      bool
	legacy        bool
	id, typ, name string
	args          []byte
	extra         []gathered
}

// gathered is an uninterpreted field whose deltas are put together.
type gathered struct {
	name  string
	kind  byte // the first byte of its JSON
	value []byte
}

// add takes a piece over. It returns what is new for somebody who watches.
func (a *assembly) add(p *piece) (text, reasoning string) {
	if a.id == "" {
		a.id = unquoted(p.id)
	}
	if a.model == "" {
		a.model = a.known.model(p.model)
	}
	if a.supplier == "" && p.supplier != nil {
		a.supplier = tellable(unquoted(p.supplier))
	}
	if a.quality == "" && p.quality != nil {
		a.quality = tellable(string(p.quality))
		if isString(p.quality) {
			a.quality = tellable(unquoted(p.quality))
		}
	}
	if p.usage != nil {
		a.usage = append(a.usage[:0], p.usage...)
	}
	a.choices += p.choices
	if !p.chosen {
		return "", ""
	}
	if len(a.slots)+len(p.calls) > maxCalls || len(a.extra)+len(p.extra) > maxFields {
		a.over = true
		return "", ""
	}
	// A chunk that holds a message beside its deltas repeats what was said; one that
	// holds nothing else is a completion in disguise.
	whole := p.whole
	if !p.hasDelta && p.message != nil && !a.hasText && len(a.slots) == 0 {
		s := scan{b: p.message}
		p.readMessage(&s)
		whole = true
	}
	if f := word(p.finish); f != "" {
		a.finish = f
	}
	if a.role == "" {
		a.role = word(p.role)
	}
	text, reasoning = a.addContent(p.content)
	if isString(p.refusal) {
		a.refusal = appendUnquoted(a.refusal, p.refusal)
	}
	for i := range p.calls {
		a.addCall(&p.calls[i], whole)
	}
	if isObject(p.functionCall) {
		a.addLegacy(p.functionCall)
	}
	for _, f := range p.extra {
		a.extra = gather(a.extra, f)
		if a.live && reasoning == "" && isString(f.value) {
			switch string(f.name) {
			case "reasoning_content", "reasoning":
				reasoning = unquoted(f.value)
			}
		}
	}
	return text, reasoning
}

func (a *assembly) addContent(raw []byte) (text, reasoning string) {
	switch {
	case isNull(raw):
		return "", ""
	case isString(raw):
		a.hasText = true
		if a.parts.open {
			text = unquoted(raw)
			a.parts.addText(text)
			return text, ""
		}
		start := len(a.text)
		a.text = appendUnquoted(a.text, raw)
		if a.live {
			text = string(a.text[start:])
		}
		return text, ""
	case raw[0] != '[':
		a.hasText = true
		a.parts.object = append([]byte(nil), raw...)
		return string(raw), ""
	}
	if !a.parts.open {
		a.parts.open = true
		if len(a.text) > 0 {
			a.parts.addText(string(a.text))
		}
	}
	s := scan{b: raw}
	for ok := s.enter('[', ']'); ok && !s.bad; ok = s.more(']') {
		element := s.value()
		switch kind, t, plain := readPart(element); {
		case kind == partText && plain:
			a.hasText = true
			a.parts.addText(t)
			text += t
		case kind == partText:
			a.hasText = true
			a.parts.addRaw(element)
			text += t
		default:
			a.parts.addRaw(element)
			if kind == partThinking {
				reasoning += t
			}
		}
	}
	return text, reasoning
}

// partList is content in parts; neighbouring texts become one.
type partList struct {
	open    bool
	object  []byte
	pending []byte
	list    []byte
}

func (l *partList) addText(t string) { l.pending = append(l.pending, t...) }

func (l *partList) addRaw(raw []byte) {
	l.flush()
	l.comma()
	l.list = append(l.list, raw...)
}

func (l *partList) comma() {
	if len(l.list) > 0 {
		l.list = append(l.list, ',')
	}
}

func (l *partList) flush() {
	if len(l.pending) == 0 {
		return
	}
	l.comma()
	l.list = append(l.list, `{"type":"text","text":`...)
	l.list = append(appendQuoted(l.list, string(l.pending)), '}')
	l.pending = l.pending[:0]
}

func (l *partList) json() json.RawMessage {
	if l.object != nil {
		return l.object
	}
	l.flush()
	return append(append([]byte{'['}, l.list...), ']')
}

// addCall finds the call that a fragment belongs to. Providers number their calls,
// or name them by id, or do neither, or number all of them 0.
func (a *assembly) addCall(c *callPiece, whole bool) {
	id := unquoted(c.id)
	if len(bytes.TrimSpace([]byte(id))) == 0 {
		id = ""
	}
	name := a.known.tool(c.funcName)
	var s *slot
	if !whole {
		s = a.find(c, id, name)
	}
	if s == nil {
		s = a.newSlot()
		s.index, s.hasIndex = c.index, c.hasIndex
	}
	if s.id == "" {
		s.id = id
	}
	switch {
	case s.name == "":
		s.name = name
	case name != s.name && len(s.args) == 0:
		s.name += name // a name in fragments
	}
	if s.typ == "" {
		s.typ = word(c.typ)
	}
	s.args = appendText(s.args, c.funcArgs)
	if len(s.extra)+len(c.extra) > maxFields {
		a.over = true
		return
	}
	for _, f := range c.extra {
		s.extra = gather(s.extra, f)
	}
}

// newSlot adds a slot, with the memory of one of an answer before.
func (a *assembly) newSlot() *slot {
	n := len(a.slots)
	if n == cap(a.slots) {
		a.slots = append(a.slots, slot{})
	} else {
		a.slots = a.slots[:n+1]
		s := &a.slots[n]
		*s = slot{args: s.args[:0], extra: s.extra[:0]}
	}
	return &a.slots[n]
}

// find returns the call that the fragment goes on with, nil if it begins one.
func (a *assembly) find(c *callPiece, id, name string) *slot {
	var last, same, numbered *slot
	for i := range a.slots {
		s := &a.slots[i]
		if s.legacy {
			continue
		}
		last = s
		if id != "" && s.id == id {
			same = s
		}
		if c.hasIndex && s.hasIndex && s.index == c.index {
			numbered = s
		}
	}
	switch {
	case numbered != nil && id != "" && numbered.id != "" && numbered.id != id:
		// Another id under the same number: a new call, unless it carries nothing but
		// a piece of arguments (some servers make up an id per fragment).
		if same != nil {
			return same
		}
		if name != "" {
			return nil
		}
		return numbered
	case numbered != nil:
		if id == "" && begins(numbered, name, c.funcArgs) {
			return nil
		}
		return numbered
	case c.hasIndex && same != nil:
		if name != "" {
			return nil // the same id under a new number, named: a duplicate id
		}
		return same
	case same != nil:
		return same
	case id != "" && last != nil && last.id == "" && last.name == "":
		return last
	case id != "":
		return nil
	case last == nil:
		return nil
	case name == "":
		return last
	case last.name == "" && len(last.args) == 0:
		return last
	}
	return nil
}

// begins tells whether a fragment without an id is a new call rather than more of
// the one with its number.
func begins(s *slot, name string, args []byte) bool {
	if name == "" || s.name == "" || len(s.args) == 0 {
		return false
	}
	if name != s.name {
		return true
	}
	if !validJSON(s.args) {
		return false
	}
	next := bytes.TrimSpace(appendText(nil, args))
	return len(next) > 0 && next[0] == '{'
}

func (a *assembly) addLegacy(raw []byte) {
	var c callPiece
	s := scan{b: raw}
	c.readFunction(&s, "arguments")
	var to *slot
	for i := range a.slots {
		if a.slots[i].legacy {
			to = &a.slots[i]
		}
	}
	if to == nil {
		to = a.newSlot()
		to.legacy = true
	}
	if to.name == "" {
		to.name = unquoted(c.funcName)
	}
	to.args = appendText(to.args, c.funcArgs)
}

// gather joins the deltas of a field: strings are concatenated, arrays lengthened,
// anything else is replaced, and so is Groq's channel: a label that each delta repeats.
func gather(fields []gathered, f rawField) []gathered {
	for i := range fields {
		g := &fields[i]
		if g.name != string(f.name) {
			continue
		}
		switch {
		case g.kind == '"' && f.value[0] == '"' && g.name != "channel":
			g.value = appendUnquoted(g.value, f.value)
		case g.kind == '[' && f.value[0] == '[':
			g.value = appendElements(g.value, f.value)
		default:
			g.set(f.value)
		}
		return fields
	}
	n := len(fields)
	if n == cap(fields) {
		fields = append(fields, gathered{})
	} else {
		fields = fields[:n+1] // with the memory of one of an answer before
	}
	g := &fields[n]
	*g = gathered{name: nameOf(f.name), value: g.value[:0]}
	g.set(f.value)
	return fields
}

func (g *gathered) set(raw []byte) {
	g.kind = raw[0]
	switch g.kind {
	case '"':
		g.value = appendUnquoted(g.value[:0], raw)
	case '[':
		g.value = appendElements(g.value[:0], raw)
	default:
		g.value = append(g.value[:0], raw...)
	}
}

func appendElements(dst, array []byte) []byte {
	inner := bytes.TrimSpace(array[1 : len(array)-1])
	if len(inner) == 0 {
		return dst
	}
	if len(dst) > 0 {
		dst = append(dst, ',')
	}
	return append(dst, inner...)
}

func fieldsOf(all []gathered) []Field {
	if len(all) == 0 {
		return nil
	}
	out := make([]Field, 0, len(all))
	for _, g := range all {
		var v []byte
		switch g.kind {
		case '"':
			v = appendQuoted(nil, string(g.value))
		case '[':
			v = append(append([]byte{'['}, g.value...), ']')
		default:
			v = append([]byte(nil), g.value...)
		}
		out = append(out, Field{Name: g.name, Value: v})
	}
	return out
}

// complete tells whether the model, or the provider, said that it was done.
func (a *assembly) complete() bool { return a.done || a.finish != "" }

func (a *assembly) message() Message {
	m := Message{Role: a.role, Extra: fieldsOf(a.extra)}
	if m.Role == "" {
		m.Role = RoleAssistant
	}
	switch {
	case a.parts.open || a.parts.object != nil:
		m.Parts = a.parts.json()
	case a.hasText:
		text := string(a.text)
		m.Content = &text
	}
	if len(a.refusal) > 0 {
		refusal := string(a.refusal)
		m.Refusal = &refusal
	}
	for i := range a.slots {
		s := &a.slots[i]
		if s.id == "" && s.name == "" && len(s.args) == 0 {
			continue
		}
		if m.ToolCalls == nil {
			m.ToolCalls = make([]ToolCall, 0, len(a.slots))
		}
		if s.typ == "" {
			s.typ = "function"
		}
		m.ToolCalls = append(m.ToolCalls, ToolCall{
			ID: s.id, Type: s.typ, Name: s.name, Arguments: string(s.args), Extra: fieldsOf(s.extra),
		})
	}
	mendIDs(m.ToolCalls, a.id)
	return m
}

// mendIDs gives a call without an id, or with one that an earlier call of the same
// message has, an id made from the answer: the same answer gets the same ids.
func mendIDs(calls []ToolCall, answer string) {
	for i := range calls {
		if calls[i].ID != "" && !hasID(calls[:i], calls[i].ID) {
			continue
		}
		for n := i; ; n += len(calls) {
			h := fnv.New64a()
			for _, s := range []string{answer, calls[i].Name, calls[i].Arguments, strconv.Itoa(n)} {
				h.Write([]byte(s))
				h.Write([]byte{0})
			}
			id := "call_" + strconv.FormatUint(h.Sum64(), 36)
			if !hasID(calls, id) {
				calls[i].ID = id
				break
			}
		}
	}
}

func hasID(calls []ToolCall, id string) bool {
	for i := range calls {
		if calls[i].ID == id {
			return true
		}
	}
	return false
}
