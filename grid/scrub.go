package grid

import (
	"context"
	"errors"
	"net/url"
	"strings"
)

const hidden = "[hidden]"

// scrub hides what a text may carry and nobody should read: the token of a redirect's
// address, bearer tokens, keys in the usual forms.
func scrub(s string) string {
	for _, mark := range []string{"token=", "token%3d", "key=", "bearer ", "sk-"} {
		s = hideAfter(s, mark)
	}
	return s
}

func hideAfter(s, mark string) string {
	low := strings.ToLower(s)
	if len(low) != len(s) || !strings.Contains(low, mark) {
		return s
	}
	var out strings.Builder
	from := 0
	for {
		i := strings.Index(low[from:], mark)
		if i < 0 {
			break
		}
		i += from
		start := i + len(mark)
		if mark == "sk-" {
			start = i
			if i > 0 && letter(low[i-1]) { // task-, risk-
				out.WriteString(s[from : i+len(mark)])
				from = i + len(mark)
				continue
			}
		}
		end := start
		for end < len(s) && !strings.ContainsRune(" \t\n\"'<>&,;)}]", rune(s[end])) {
			end++
		}
		out.WriteString(s[from:start])
		if end > start {
			out.WriteString(hidden)
		}
		from = end
	}
	out.WriteString(s[from:])
	return out.String()
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// minSecret is how long a key is at least; what is shorter might be a word.
const minSecret = 8

// hideKey takes a key out of a text, should a server repeat it, also where the text was
// cut inside it.
func hideKey(text, key string) string {
	if len(key) < minSecret {
		return text
	}
	text = strings.ReplaceAll(text, key, hidden)
	if rest, cut := strings.CutSuffix(text, ellipsis); cut {
		for n := min(len(key), len(rest)); n >= minSecret; n-- {
			if strings.HasSuffix(rest, key[:n]) {
				return rest[:len(rest)-n] + hidden + ellipsis
			}
		}
	}
	return text
}

// hide takes a key out of all that a provider says.
func (f *fault) hide(key string) {
	for _, text := range []*string{&f.message, &f.code, &f.typ, &f.param} {
		*text = hideKey(*text, key)
	}
}

// scrubbed stands for an error whose text carried a secret. It keeps what callers
// ask errors for, but not the text and not the chain.
type scrubbed struct {
	text    string
	timeout bool
	is      []error
}

func (e *scrubbed) Error() string { return e.text }

func (e *scrubbed) Timeout() bool { return e.timeout }

func (e *scrubbed) Is(target error) bool {
	for _, err := range e.is {
		if target == err {
			return true
		}
	}
	return false
}

// safeCause returns err without the address that net/http puts in front of it, and,
// where its text or that of an error within still carries a secret, a stand-in. The
// secrets given are hidden too.
func safeCause(err error, secrets ...string) error {
	var at *url.Error
	for errors.As(err, &at) && at.Err != nil {
		err = at.Err
	}
	if err == nil {
		return nil
	}
	text := scrub(err.Error())
	for _, s := range secrets {
		text = hideKey(text, s)
	}
	if text == err.Error() {
		return err
	}
	out := &scrubbed{text: text}
	var t interface{ Timeout() bool }
	out.timeout = errors.As(err, &t) && t.Timeout()
	for _, known := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			out.is = append(out.is, known)
		}
	}
	return out
}
