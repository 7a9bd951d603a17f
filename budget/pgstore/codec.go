package pgstore

import (
	"crypto/sha256"
	"errors"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/codec"
	"github.com/gridloop/gridloop/budget/internal/rules"
)

// sound is what was read, and [ErrDamaged] if it is not what was written.
func sound[T any](v T, err error) (T, error) {
	if e, ok := errors.AsType[*codec.Error](err); ok {
		err = damaged("%v", e)
	}
	return v, err
}

func decodeScopes(text string) ([]budget.Scope, error) { return sound(codec.DecodeScopes(text)) }

func decodeScope(text string) (budget.Scope, error) { return sound(codec.DecodeScope(text)) }

func decodeAmounts(text string) (budget.Amounts, error) { return sound(codec.DecodeAmounts(text)) }

func decodeCorrections(text string) ([]rules.Correction, error) {
	return sound(codec.DecodeCorrections(text))
}

func decodeLinks(text string, each func(count, over int64) error) error {
	_, err := sound(0, codec.DecodeLinks(text, each))
	return err
}

func decodeBuckets(text string) ([]rules.Bucket, error) {
	if text == "" {
		return nil, nil
	}
	return sound(codec.DecodeBuckets(text))
}

// Thresholds that were not said are NULL, an empty list is "".
func encodeSoft(soft []int) *string {
	if soft == nil {
		return nil
	}
	text := codec.EncodeSoft(soft)
	return &text
}

func decodeSoft(text *string) ([]int, error) {
	if text == nil {
		return nil, nil
	}
	return sound(codec.DecodeSoft(*text))
}

// readable is s, unless a text column cannot hold it; % stands for nothing else, so that it reads back.
func readable(s string) string {
	if utf8.ValidString(s) && !strings.ContainsAny(s, "\x00%") {
		return s
	}
	return url.PathEscape(s)
}

func unreadable(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	out, err := url.PathUnescape(s)
	if err != nil {
		return "", damaged("%.64q is not escaped", s)
	}
	return out, nil
}

// untilOf writes the end of a freeze, which is NULL when it has none.
func untilOf(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := codec.Nano(t)
	return &n
}

func toUntil(n *int64) time.Time {
	if n == nil {
		return time.Time{}
	}
	return rules.At(*n)
}

// digest is the key of a row whose name may be longer than an index holds.
func digest(parts ...string) []byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{'\n'}) // in none of them
	}
	return h.Sum(nil)
}
