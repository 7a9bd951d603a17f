package grid

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxErrorBytes is how much of an error's body is read, maxErrorText how much of its
// message is repeated.
const (
	maxErrorBytes = 64 << 10
	maxErrorText  = 500
)

// fault is what a provider says about an error, from any of the envelopes that were
// seen: the market's {"errors":{"detail":...}}, OpenAI's {"error":{...}}, a bare
// string, FastAPI's {"detail":...}, fields at the top, an HTML page, plain text.
type fault struct {
	message, code, typ, param string
	status                    int  // an HTTP status named inside the body, else 0
	foreign                   bool // not the market's: a page, or nothing
}

func readFault(b []byte) fault {
	b = bytes.TrimPrefix(bytes.TrimSpace(b), []byte("\xef\xbb\xbf"))
	var f fault
	switch {
	case len(b) == 0:
		return fault{message: "no text was sent", foreign: true}
	case b[0] == '<':
		return fault{message: "an HTML page instead of JSON; a proxy or a wrong address may have sent it", foreign: true}
	case !validJSON(b):
		f.message = string(b)
	default:
		f.value(b, 0)
	}
	f.message = printable(f.message)
	f.code, f.typ, f.param = printable(f.code), printable(f.typ), printable(f.param)
	return f
}

// value reads an error's value, however it is wrapped.
func (f *fault) value(raw []byte, depth int) {
	if isNull(raw) || depth > 5 {
		return
	}
	s := scan{b: raw}
	switch s.peek() {
	case '"':
		f.take(&f.message, unquoted(s.value()))
		return
	case '[':
		// A list of mistakes: the first says enough.
		if s.enter('[', ']') {
			f.value(s.value(), depth+1)
		}
		return
	case '{':
	default:
		return
	}
	var inner [][]byte
	known := false
	for ok := s.enter('{', '}'); ok && !s.bad; ok = s.more('}') {
		name := string(s.key())
		v := s.value()
		switch name {
		case "message", "msg", "error_description":
			known = true
			if isString(v) {
				f.take(&f.message, unquoted(v))
			} else {
				inner = append(inner, v)
			}
		case "error", "errors", "detail":
			known = true
			if name == "detail" && isString(v) && machineCode(unquoted(v)) {
				// The market puts a code there when a message stands beside it.
				f.take(&f.code, unquoted(v))
				continue
			}
			inner = append(inner, v)
		case "code", "status", "status_code", "raw_status_code":
			f.codeValue(v)
		case "type":
			f.take(&f.typ, unquoted(v))
		case "param":
			f.take(&f.param, unquoted(v))
		}
	}
	for _, v := range inner {
		f.value(v, depth+1)
	}
	if f.message == "" && f.code != "" {
		f.message = f.code
	}
	if !known && f.message == "" {
		f.message = string(raw) // a map of fields to their mistakes
	}
}

func (f *fault) take(to *string, v string) {
	if *to == "" {
		*to = v
	}
}

func (f *fault) codeValue(raw []byte) {
	text := unquoted(raw)
	digits := raw
	if isString(raw) {
		digits = []byte(text)
	}
	if n, ok := count(digits); ok {
		if n >= 400 && n <= 599 && f.status == 0 {
			f.status = int(n)
		}
		text = string(digits)
	}
	f.take(&f.code, text)
}

func machineCode(s string) bool {
	return strings.Contains(s, "_") && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '_' && !unicode.IsLower(r) && !unicode.IsDigit(r)
	})
}

// printable bounds a text, drops what could disturb a log, and hides secrets.
func printable(s string) string {
	if len(s) > 4*maxErrorText {
		s = s[:4*maxErrorText]
	}
	s = scrub(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s))
	return strings.TrimSpace(clipped(s, maxErrorText))
}

const ellipsis = "..."

// clipped returns at most n bytes of a text, and the mark that there were more.
func clipped(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + ellipsis
}
