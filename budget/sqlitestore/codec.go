package sqlitestore

import (
	"errors"
	"time"

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

// Counts that have no buckets have NULL.
func encodeBuckets(buckets []rules.Bucket) any {
	if text := codec.EncodeBuckets(buckets); text != "" {
		return text
	}
	return nil
}

func decodeBuckets(row columns, i int) ([]rules.Bucket, error) {
	if row.null(i) {
		return nil, nil
	}
	return sound(codec.DecodeBuckets(row.text(i)))
}

// Thresholds that were not said are NULL, an empty list is "".
func encodeSoft(soft []int) any {
	if soft == nil {
		return nil
	}
	return codec.EncodeSoft(soft)
}

func decodeSoft(row columns, i int) ([]int, error) {
	if row.null(i) {
		return nil, nil
	}
	return sound(codec.DecodeSoft(row.text(i)))
}

// untilOf writes the end of a freeze, which is NULL when it has none.
func untilOf(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return codec.Nano(t)
}

func toUntil(row columns, i int) time.Time {
	if row.null(i) {
		return time.Time{}
	}
	return rules.At(row.int(i))
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
