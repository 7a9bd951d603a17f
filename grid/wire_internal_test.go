package grid

import (
	"encoding/json"
	"math"
	"math/big"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestRetryAfterHints(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		name   string
		header map[string]string
		want   time.Duration
		ok     bool
	}{
		{"none", nil, 0, false},
		{"seconds", map[string]string{"Retry-After": "3"}, 3 * time.Second, true},
		{"decimal", map[string]string{"Retry-After": " 1.5 "}, 1500 * time.Millisecond, true},
		{"zero", map[string]string{"Retry-After": "0"}, 0, true},
		{"negative", map[string]string{"Retry-After": "-7"}, 0, true},
		{"milliseconds first", map[string]string{"Retry-After": "3", "Retry-After-Ms": "20"}, 20 * time.Millisecond, true},
		{"no milliseconds beside seconds", map[string]string{"Retry-After": "1", "Retry-After-Ms": "0"}, time.Second, true},
		{"no milliseconds alone", map[string]string{"Retry-After-Ms": "0"}, 0, true},
		{"date", map[string]string{"Retry-After": "Sun, 01 Nov 2026 12:00:30 GMT"}, 30 * time.Second, true},
		{"date by the server's clock", map[string]string{"Retry-After": "Sun, 01 Nov 2026 09:00:05 GMT", "Date": "Sun, 01 Nov 2026 09:00:00 GMT"}, 5 * time.Second, true},
		{"date that is over", map[string]string{"Retry-After": "Sun, 01 Nov 2020 12:00:30 GMT"}, 0, true},
		{"garbage", map[string]string{"Retry-After": "soon"}, 0, false},
		{"not a number", map[string]string{"Retry-After": "NaN"}, 0, false},
		{"endless", map[string]string{"Retry-After": "Inf"}, 0, false},
		{"huge", map[string]string{"Retry-After": "1e300"}, math.MaxInt64, true},
		{"garbage, then the limit's", map[string]string{"Retry-After": "soon", "X-Ratelimit-Retry-After": "4"}, 4 * time.Second, true},
		{"reset", map[string]string{"X-Ratelimit-Reset": "1793534410"}, 10 * time.Second, true},
		{"reset in seconds is no time", map[string]string{"X-Ratelimit-Reset": "12"}, 0, false},
	} {
		h := http.Header{}
		for k, v := range row.header {
			h.Set(k, v)
		}
		if got, ok := retryAfter(h, now); got != row.want || ok != row.ok {
			t.Errorf("%s: %v %v, want %v %v", row.name, got, ok, row.want, row.ok)
		}
	}
}

func TestDecimalsBecomeNanoUSDRoundedUp(t *testing.T) {
	for _, row := range []struct {
		in    string
		scale int
		want  int64
		ok    bool
	}{
		{"0.20", 9, 200_000_000, true},
		{"0.0000000001", 9, 1, true},
		{"1", 9, 1_000_000_000, true},
		{"0", 9, 0, true},
		{"0.000", 9, 0, true},
		{"1e-9", 9, 1, true},
		{"1.5E3", 9, 1_500_000_000_000, true},
		{"+2", 0, 2, true},
		{".5", 0, 1, true},
		{"9223372036.854775807", 9, math.MaxInt64, true},
		{"99999999999", 9, math.MaxInt64, true},
		{"9223372036.8547758061", 9, math.MaxInt64, true},
		{"-1", 9, 0, false},
		{"", 9, 0, false},
		{".", 9, 0, false},
		{"1.2.3", 9, 0, false},
		{"1e", 9, 0, false},
		{"1e99999", 9, 0, false},
		{"abc", 9, 0, false},
		{"0x10", 9, 0, false},
	} {
		if got, ok := decimal(row.in, row.scale); got != row.want || ok != row.ok {
			t.Errorf("%q: %d %v, want %d %v", row.in, got, ok, row.want, row.ok)
		}
	}
}

func FuzzDecimal(f *testing.F) {
	for _, s := range []string{"0.1", "1e-9", "922337203685477580.7", "1.0000000000000000000001", "00012.50"} {
		f.Add(s, 9)
	}
	f.Fuzz(func(t *testing.T, s string, scale int) {
		if scale < -20 || scale > 20 {
			return
		}
		got, ok := decimal(s, scale)
		if !ok {
			return
		}
		want, good := new(big.Rat).SetString(s)
		if !good {
			t.Fatalf("%q was taken", s)
		}
		ten := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(scale, -scale))), nil))
		if scale < 0 {
			ten.Inv(ten)
		}
		want.Mul(want, ten)
		up := new(big.Int).Add(want.Num(), new(big.Int).Sub(want.Denom(), big.NewInt(1)))
		up.Div(up, want.Denom())
		if up.IsInt64() && up.Int64() != got || !up.IsInt64() && got != math.MaxInt64 {
			t.Fatalf("%q x 10^%d: %d, want %s", s, scale, got, up)
		}
	})
}

func FuzzScanIsEncodingJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e3,"x\u00e9\ud83d\ude00\ud800",null,true]}`, "\"\\u12\"", `"\xff"`, "[1,]", `{"a"}`, `01`, "\"\t\"", `[[[[]]]] `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		valid := json.Valid(b)
		if got := validJSON(b); got != valid {
			t.Fatalf("valid %v, encoding/json says %v: %q", got, valid, b)
		}
		if !valid {
			return
		}
		compact, ok := appendRaw(nil, b)
		var a, c any
		// A number beyond a float is valid JSON too.
		if outOfRange := json.Unmarshal(b, &a) != nil; !ok || outOfRange != (json.Unmarshal(compact, &c) != nil) || !outOfRange && !reflect.DeepEqual(a, c) {
			t.Fatalf("%q became %q", b, compact)
		}
		if s, isText := a.(string); isText {
			sc := scan{b: b}
			if got := unquoted(sc.value()); got != s {
				t.Fatalf("%q means %q, encoding/json says %q", b, got, s)
			}
		}
	})
}

func FuzzQuotedMeansTheText(f *testing.F) {
	f.Add("a\"\\\x00\x1f\u2028é\xff<&>")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(appendQuoted(nil, s), &back); err != nil || back != strings.ToValidUTF8(s, "\ufffd") && utf8.ValidString(s) {
			t.Fatalf("%q came back as %q (%v)", s, back, err)
		}
		std, _ := json.Marshal(s)
		var want string
		_ = json.Unmarshal(std, &want)
		if back != want {
			t.Fatalf("%q: %q, encoding/json says %q", s, back, want)
		}
	})
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"custom","custom":{"name":"f","input":"x"},"extra_content":{"g":1}}],"reasoning":"r"}`))
	f.Add([]byte(`{"role":"user","content":[{"type":"text","text":"a"}],"name":"b","x":{ "y" : 1 },"x":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMessage(b)
		if err != nil {
			return
		}
		_, _ = m.Portable().Text(), m.OpenAI()
		if m.Role == "" {
			return
		}
		one, err := EncodeMessage(m)
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		back, err := DecodeMessage(one)
		two, err2 := EncodeMessage(back)
		if err != nil || err2 != nil || string(one) != string(two) {
			t.Fatalf("%q -> %s -> %s (%v, %v)", b, one, two, err, err2)
		}
		if p, err := EncodeMessage(m.Portable()); err != nil || !json.Valid(p) {
			t.Fatalf("portable %s: %v", p, err)
		}
	})
}
