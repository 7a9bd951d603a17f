package grid

import (
	"bytes"
	"errors"
	"strings"
	"time"
)

var (
	errChunk   = errors.New("a chunk of the stream is not JSON")
	errJSON    = errors.New("the answer is not JSON")
	errHTML    = errors.New("the answer is an HTML page: a proxy or a wrong address may have sent it")
	errNothing = errors.New("the answer is empty")
	errForeign = errors.New("the answer is neither JSON nor a stream of events")
	errTooMany = errors.New("the answer has more calls or fields than any model writes")
)

// form is what an answer's bytes turned out to be. Headers are not trusted for it:
// servers stream when they were not asked to, and answer JSON when they were.
type form int

const (
	formUnknown form = iota
	formJSON
	formEvents
	formHTML
)

// answer reads the bytes of a 200. It is fed pieces of any size and means the same
// wherever they are cut.
type answer struct {
	assembly
	form    form
	piece   piece
	events  events
	raw     []byte // a JSON answer
	size    int64
	limit   int64
	deliver func(Delta)
	told    bool // something was delivered
	start   time.Time
	first   time.Duration
	failure *fault
}

func (a *answer) feed(b []byte) error {
	if a.size += int64(len(b)); a.size > a.limit {
		return ErrTooLarge
	}
	if a.form == formUnknown {
		// Leading white space and a byte order mark come before JSON too.
		i := 0
		for i < len(b) && strings.IndexByte(" \t\r\n\xef\xbb\xbf", b[i]) >= 0 {
			i++
		}
		if b = b[i:]; len(b) == 0 {
			return nil
		}
		switch b[0] {
		case '{', '[', '"':
			a.form = formJSON
		case '<':
			a.form = formHTML
		default:
			a.form = formEvents
			a.events.emit = a.event
		}
	}
	switch a.form {
	case formJSON:
		a.raw = append(a.raw, b...)
	case formHTML:
		return errHTML // nothing further in it is of interest
	case formEvents:
		return a.events.feed(b)
	}
	return nil
}

// event takes one event's data over.
func (a *answer) event(name string, data []byte) (bool, error) {
	if a.done {
		return true, nil
	}
	if data[0] != '{' {
		switch {
		case string(data) == "[DONE]":
			a.done = true
		case name == "error":
			f := readFault(data)
			a.failure = &f
			return true, errFault
		}
		return true, nil // a keep-alive in words
	}
	p := &a.piece
	if !p.read(data, false) {
		return false, nil
	}
	if p.failure != nil || p.choices == 0 && p.usage == nil && (p.oddError || name == "error") {
		a.assembly.add(p)
		a.fail(p, data)
		return true, errFault
	}
	text, reasoning := a.assembly.add(p)
	if a.over {
		return true, errTooMany
	}
	if a.first == 0 && p.speaks() {
		a.first = max(time.Since(a.start), 1)
	}
	if a.deliver != nil && (text != "" || reasoning != "") {
		a.told = true
		a.deliver(Delta{Text: text, Reasoning: reasoning})
	}
	return true, nil
}

var errFault = errors.New("the provider reported an error")

func (a *answer) fail(p *piece, whole []byte) {
	from := p.failure
	if from == nil {
		from = whole
	}
	f := readFault(from)
	a.failure = &f
}

// speaks tells whether a chunk carries a piece of the answer.
func (p *piece) speaks() bool {
	if len(p.calls) > 0 || len(p.extra) > 0 || isObject(p.functionCall) {
		return true
	}
	return !isNull(p.content) && string(p.content) != `""`
}

// conclude is called when no more bytes come: cut tells that they broke off.
func (a *answer) conclude(cut bool) error {
	switch a.form {
	case formUnknown:
		if cut {
			return ErrCut
		}
		return errNothing
	case formHTML:
		return errHTML
	case formJSON:
		return a.concludeJSON(cut)
	}
	if a.complete() && cut {
		return nil
	}
	if err := a.events.end(); err != nil {
		return err
	}
	if !a.complete() {
		if !a.events.known && !cut {
			return errForeign
		}
		return ErrCut
	}
	if a.choices == 0 {
		return ErrNoChoices
	}
	return nil
}

func (a *answer) concludeJSON(cut bool) error {
	p := &a.piece
	raw := bytes.TrimRight(a.raw, " \t\r\n\x00")
	if !p.read(raw, true) {
		if cut || !validJSON(raw) && truncated(raw) {
			return ErrCut
		}
		return errJSON
	}
	a.assembly.add(p)
	if p.failure != nil || p.choices == 0 && p.oddError {
		a.fail(p, raw)
		return errFault
	}
	if a.over {
		return errTooMany
	}
	if p.choices == 0 {
		return ErrNoChoices
	}
	return nil
}

// truncated tells whether a text could be the beginning of an object.
func truncated(raw []byte) bool {
	s := scan{b: raw}
	s.skip(0)
	return s.bad && s.i >= len(raw) && raw[len(raw)-1] != '}'
}

// deliverWhole gives somebody who watches what came in one piece though a stream was
// asked for.
func (a *answer) deliverWhole(m *Message) {
	if a.deliver == nil || a.form != formJSON {
		return
	}
	if d := (Delta{Text: m.Text(), Reasoning: m.Reasoning()}); d.Text != "" || d.Reasoning != "" {
		a.deliver(d)
	}
}

// stop tells that nothing more is to be read for.
func (a *answer) stop() bool { return a.done }
