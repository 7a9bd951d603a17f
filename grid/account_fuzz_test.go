package grid

import "testing"

// What accounts and receipts are read from is foreign: whatever it holds, reading it
// ends, and no amount is made up.
func FuzzReceiptsAndSettings(f *testing.F) {
	f.Add([]byte(`{"data":{"request_id":"r","usage":{"total_tokens":"7"},"cost":{"amount":"0.1","status":"reconciled","breakdown":[{"tokens":1,"subtotal":"1e-9"}]},"timing":{"ttft_ms":null}}}`))
	f.Add([]byte(`{"account_mode":"easy","auto_buy_enabled":true,"auto_buy_quantity":-1.5,"auto_reload_amount_usd":"1e400"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, ok := readReceipt(b); ok {
			if r.RequestID == "" || r.TotalTokens < 0 || r.CostNanoUSD != nil && *r.CostNanoUSD < 0 || r.TTFT < 0 {
				t.Errorf("%+v", r)
			}
			for _, lot := range r.Lots {
				if lot.Tokens < 0 || lot.CostNanoUSD < 0 || lot.PriceNanoUSDPerUnit < 0 {
					t.Errorf("%+v", lot)
				}
			}
		}
		var s Settings
		s.take(unwrapped(b))
	})
}

func FuzzSignedDecimal(f *testing.F) {
	for _, s := range []string{"0", "-1.5", "12345678901234567890", "-9223372036.854775808", "1e-9", "-", "--1", "-+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		down, ok := signedDecimal(s, nanoPerUSD)
		if up, is := decimal(s, nanoPerUSD); is && (!ok || down > up || up-down > 1) {
			t.Errorf("%q: %d rounded down, %d up", s, down, up)
		}
		if debt, is := signedDecimal("-"+s, nanoPerUSD); ok && down > 0 && s[0] != '+' && (!is || debt > -down) {
			t.Errorf("-%q: %d, not below %d", s, debt, -down)
		}
	})
}
