package tracing

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

const other = "_OTHER"

// word passes identifiers on and replaces everything else. Values that backends group by come from many hands; what does
// not look like a name may be a text that somebody's prompt is quoted in.
func word(s string) string {
	if s == "" || len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.' && r != '/' && r != ':'
	}) {
		return s
	}
	return other
}

// short bounds an id of the other side.
func short(s string) string {
	const limit = 256
	if len(s) <= limit {
		return s
	}
	return cut(s, limit)
}

// errorType names a failure, "" for none.
func errorType(given string, err error) string {
	switch {
	case given != "":
		return word(given)
	case err == nil:
		return ""
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return other
}

// exceptionType is the Go type of an error and never its text.
func exceptionType(err error) string {
	if err == nil {
		return ""
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", err), "*")
}

// finishReason maps what the wire says to the words of the conventions; an answer that never came is an error.
func finishReason(s string) string {
	switch s {
	case "":
		return "error"
	case "tool_calls", "function_call":
		return "tool_call"
	}
	return word(s)
}

// bareURL keeps scheme, host and path. Queries carry tokens, user parts carry passwords.
func bareURL(s string) string {
	s, _, _ = strings.Cut(s, "?")
	s, _, _ = strings.Cut(s, "#")
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return ""
	}
	u.User = nil
	return u.String()
}

// bareHost keeps host and port of whatever is given.
func bareHost(s string) string {
	if _, after, found := strings.Cut(s, "://"); found {
		s = after
	}
	if end := strings.IndexAny(s, "/?#"); end >= 0 {
		s = s[:end]
	}
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		s = s[at+1:]
	}
	return short(s)
}
