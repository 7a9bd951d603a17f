package codec

import (
	"reflect"
	"testing"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/rules"
)

// What is read is written back as something that reads the same, or it is refused.
func FuzzTextsReadBackWhatTheySay(f *testing.F) {
	for _, text := range []string{"", "account", "tenant acme\nrun 7", "tenant a%0Ab", "money=900 tokens=12", "custom:mails=-1", "=1", "3 7:40", "1:", "receipt money=1",
		"an%20audit \nreceipt tokens=9", "5:60 7:9:1:2", "a=b=3", "custom:x=0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if scopes, err := DecodeScopes(text); err == nil && EncodeScopes(scopes) != text {
			t.Errorf("scopes %q are written %q", text, EncodeScopes(scopes))
		}
		if amounts, err := DecodeAmounts(text); err == nil {
			again, err := DecodeAmounts(EncodeAmounts(amounts))
			if err != nil || !again.Equal(amounts) {
				t.Errorf("amounts %q read %v, then %v, %v", text, amounts, again, err)
			}
		}
		var links []rules.Link
		if err := DecodeLinks(text, func(id, over int64) error {
			links = append(links, rules.Link{Count: &rules.Count{ID: id}, Over: over})
			return nil
		}); err == nil {
			i := 0
			if err := DecodeLinks(EncodeLinks(links), func(id, over int64) error {
				if links[i].Count.ID != id || links[i].Over != over {
					t.Errorf("links %q are written %q", text, EncodeLinks(links))
				}
				i++
				return nil
			}); err != nil || i != len(links) {
				t.Errorf("links %q are written %q: %v", text, EncodeLinks(links), err)
			}
		}
		if corrections, err := DecodeCorrections(text); err == nil {
			again, err := DecodeCorrections(EncodeCorrections(corrections))
			if err != nil || len(again) != len(corrections) {
				t.Errorf("corrections %q are written %q: %v", text, EncodeCorrections(corrections), err)
			}
			for i := range again {
				if again[i].Source != corrections[i].Source || !again[i].Actual.Equal(corrections[i].Actual) {
					t.Errorf("corrections %q are written %q", text, EncodeCorrections(corrections))
				}
			}
		}
		if buckets, err := DecodeBuckets(text); err == nil {
			if again, err := DecodeBuckets(EncodeBuckets(buckets)); err != nil || !reflect.DeepEqual(again, buckets) {
				t.Errorf("buckets %q read %v, then %v, %v", text, buckets, again, err)
			}
		}
	})
}

// Whatever a client names something, it stays what it is.
func FuzzNamesSurvive(f *testing.F) {
	f.Add("acme", "receipt", int64(5))
	f.Add("a\nb%\x00\xff ä", "an audit\n", int64(-1))
	f.Fuzz(func(t *testing.T, name, source string, amount int64) {
		if name == "" {
			return
		}
		scopes := []budget.Scope{{Kind: budget.ScopeAccount}, {Kind: "tag:team", Name: name}, {Kind: "tenant", Name: name}}
		if got, err := DecodeScopes(EncodeScopes(scopes)); err != nil || !reflect.DeepEqual(got, scopes) {
			t.Errorf("scopes %q read %q, %v", scopes, got, err)
		}
		meter := budget.Custom(name)
		corrections := []rules.Correction{{Source: source, Actual: budget.Amounts{NanoUSD: amount, ToolCalls: 1}.With(meter, amount)}}
		got, err := DecodeCorrections(EncodeCorrections(corrections))
		if err != nil || len(got) != 1 || got[0].Source != source || !got[0].Actual.Equal(corrections[0].Actual) {
			t.Errorf("corrections %q read %q, %v", corrections, got, err)
		}
	})
}
