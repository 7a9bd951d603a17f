package pgstore

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

// Thresholds are read back as they are, or refused; names as they are, whatever is in them.
func FuzzColumnsReadBackWhatTheySay(f *testing.F) {
	f.Add("5 80 95")
	f.Add("a\nb%\x00\xff ä")
	f.Fuzz(func(t *testing.T, text string) {
		if soft, err := decodeSoft(&text); err == nil {
			if again, err := decodeSoft(encodeSoft(soft)); err != nil || !reflect.DeepEqual(again, soft) {
				t.Errorf("thresholds %q read %v, then %v, %v", text, soft, again, err)
			}
		}
		if got, err := unreadable(readable(text)); err != nil || got != text {
			t.Errorf("%q reads %q, %v", text, got, err)
		}
	})
}
