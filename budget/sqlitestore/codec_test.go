package sqlitestore

import (
	"reflect"
	"testing"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/codec"
	"github.com/gridloop/gridloop/budget/internal/rules"
)

// What is read from a file is written back as something that reads the same, or it is refused as damaged.
func FuzzColumnsReadBackWhatTheySay(f *testing.F) {
	for _, text := range []string{"", "account", "tenant acme\nrun 7", "tenant a%0Ab", "money=900 tokens=12", "custom:mails=-1", "=1", "3 7:40", "1:", "receipt money=1",
		"an%20audit \nreceipt tokens=9", "5 80 95", "5:60 7:9:1:2", "a=b=3", "custom:x=0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if scopes, err := decodeScopes(text); err == nil && codec.EncodeScopes(scopes) != text {
			t.Errorf("scopes %q are written %q", text, codec.EncodeScopes(scopes))
		}
		if amounts, err := decodeAmounts(text); err == nil {
			again, err := decodeAmounts(codec.EncodeAmounts(amounts))
			if err != nil || !again.Equal(amounts) {
				t.Errorf("amounts %q read %v, then %v, %v", text, amounts, again, err)
			}
		}
		var links []rules.Link
		if err := decodeLinks(text, func(id, over int64) error {
			links = append(links, rules.Link{Count: &rules.Count{ID: id}, Over: over})
			return nil
		}); err == nil {
			i := 0
			if err := decodeLinks(codec.EncodeLinks(links), func(id, over int64) error {
				if links[i].Count.ID != id || links[i].Over != over {
					t.Errorf("links %q are written %q", text, codec.EncodeLinks(links))
				}
				i++
				return nil
			}); err != nil || i != len(links) {
				t.Errorf("links %q are written %q: %v", text, codec.EncodeLinks(links), err)
			}
		}
		if corrections, err := decodeCorrections(text); err == nil {
			again, err := decodeCorrections(codec.EncodeCorrections(corrections))
			if err != nil || len(again) != len(corrections) {
				t.Errorf("corrections %q are written %q: %v", text, codec.EncodeCorrections(corrections), err)
			}
			for i := range again {
				if again[i].Source != corrections[i].Source || !again[i].Actual.Equal(corrections[i].Actual) {
					t.Errorf("corrections %q are written %q", text, codec.EncodeCorrections(corrections))
				}
			}
		}
		if buckets, err := decodeBuckets(columns{text}, 0); err == nil {
			if again, err := decodeBuckets(columns{encodeBuckets(buckets)}, 0); err != nil || !reflect.DeepEqual(again, buckets) {
				t.Errorf("buckets %q read %v, then %v, %v", text, buckets, again, err)
			}
		}
		if soft, err := decodeSoft(columns{text}, 0); err == nil {
			if again, err := decodeSoft(columns{encodeSoft(soft)}, 0); err != nil || !reflect.DeepEqual(again, soft) {
				t.Errorf("thresholds %q read %v, then %v, %v", text, soft, again, err)
			}
		}
	})
}

// Whatever a client names something, it stays what it is.
func FuzzNamesSurviveTheFile(f *testing.F) {
	f.Add("acme", "receipt", int64(5))
	f.Add("a\nb%\x00\xff ä", "an audit\n", int64(-1))
	f.Fuzz(func(t *testing.T, name, source string, amount int64) {
		if name == "" {
			return
		}
		scopes := []budget.Scope{{Kind: budget.ScopeAccount}, {Kind: "tag:team", Name: name}, {Kind: "tenant", Name: name}}
		if got, err := decodeScopes(codec.EncodeScopes(scopes)); err != nil || !reflect.DeepEqual(got, scopes) {
			t.Errorf("scopes %q read %q, %v", scopes, got, err)
		}
		meter := budget.Custom(name)
		corrections := []rules.Correction{{Source: source, Actual: budget.Amounts{NanoUSD: amount, ToolCalls: 1}.With(meter, amount)}}
		got, err := decodeCorrections(codec.EncodeCorrections(corrections))
		if err != nil || len(got) != 1 || got[0].Source != source || !got[0].Actual.Equal(corrections[0].Actual) {
			t.Errorf("corrections %q read %q, %v", corrections, got, err)
		}
	})
}
