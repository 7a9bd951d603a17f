package sqlitestore

import (
	"errors"
	"reflect"
	"testing"
)

func TestTextsThatNobodyWroteAreDamage(t *testing.T) {
	if _, err := decodeScopes("no scope at all"); !errors.Is(err, ErrDamaged) {
		t.Errorf("scopes: %v", err)
	}
	if err := decodeLinks("x", func(int64, int64) error { return nil }); !errors.Is(err, ErrDamaged) {
		t.Errorf("links: %v", err)
	}
	mine := errors.New("mine")
	if err := decodeLinks("1", func(int64, int64) error { return mine }); err != mine {
		t.Errorf("links: %v, want the error of who reads them", err)
	}
}

// Thresholds and buckets are read back as they are, or refused.
func FuzzColumnsReadBackWhatTheySay(f *testing.F) {
	f.Add("5 80 95")
	f.Add("5:60 7:9:1:2")
	f.Fuzz(func(t *testing.T, text string) {
		if soft, err := decodeSoft(columns{text}, 0); err == nil {
			if again, err := decodeSoft(columns{encodeSoft(soft)}, 0); err != nil || !reflect.DeepEqual(again, soft) {
				t.Errorf("thresholds %q read %v, then %v, %v", text, soft, again, err)
			}
		}
		if buckets, err := decodeBuckets(columns{text}, 0); err == nil {
			if again, err := decodeBuckets(columns{encodeBuckets(buckets)}, 0); err != nil || !reflect.DeepEqual(again, buckets) {
				t.Errorf("buckets %q read %v, then %v, %v", text, buckets, again, err)
			}
		}
	})
}
