package gridtest_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid/gridtest"
)

func TestModelsHaveLimitsAndLivePrices(t *testing.T) {
	m := gridtest.New(gridtest.Config{})
	defer m.Close()
	m.SetPrice("text-standard", 123_456_789)
	var list struct {
		Object string
		Data   []struct {
			ID, Object, Status string
			DisplayName        string `json:"display_name"`
			Context            int64  `json:"context_window"`
			MaxInput           int64  `json:"max_input_tokens"`
			MaxOutput          int64  `json:"max_output_tokens"`
			Pricing            struct {
				UnitPrice string `json:"unit_price_usd"`
			}
		}
	}
	if status := get(t, m, "/models", &list); status != 200 || list.Object != "list" || len(list.Data) != 9 {
		t.Fatalf("%d %+v", status, list)
	}
	standard, max := list.Data[0], list.Data[8]
	if standard.ID != "text-standard" || standard.Status != "live" || standard.DisplayName != "Text Standard" || standard.Pricing.UnitPrice != "0.123456789" || standard.MaxOutput != 65_536 {
		t.Errorf("%+v", standard)
	}
	if max.ID != "agent-max" || max.Status != "preview" || max.Pricing.UnitPrice != "3.00" || max.Context != 1_000_000 || max.MaxInput != 922_000 {
		t.Errorf("%+v", max)
	}
}

func TestANewPriceIsThatOfTheNextPurchase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{Balance: map[string]int64{"text-prime": 1}})
		defer m.Close()
		m.Model(tokens(1, 999))
		m.SetPrice("text-prime", 1_000_000_000)
		for range 2 {
			chat(t, memoryClient(m), m.BaseURL(), m.Key(), hello)
		}
		if got := m.Bill(""); got != 600_000 {
			t.Errorf("bill %d: the lot of the old price was not drawn at it", got)
		}
		time.Sleep(1500 * time.Millisecond)
		chat(t, memoryClient(m), m.BaseURL(), m.Key(), hello)
		if got := m.Bill(""); got != 600_000+1_000_000 {
			t.Errorf("bill %d: the lot of the new price was not drawn at it", got)
		}
	})
}

func TestDiagnosticsTellDryBalances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{Balance: map[string]int64{"text-prime": 0, "text-max": 0}})
		defer m.Close()
		chat(t, memoryClient(m), m.BaseURL(), m.Key(), hello)
		diagnose := func() (status string, codes string) {
			var report struct {
				Data struct {
					Status string
					Checks []struct{ Name, Code string }
				}
			}
			get(t, m, "/diagnostics", &report)
			for _, c := range report.Data.Checks {
				if c.Code != "balance_available" {
					codes += c.Name + "=" + c.Code + " "
				}
			}
			return report.Data.Status, codes
		}
		if status, codes := diagnose(); status != "warn" || codes != "api_key=api_key_valid credits=credits_available balance:text-prime=replenishing balance:text-max=balance_empty " {
			t.Errorf("%s: %s", status, codes)
		}
		m.SetCredits(0)
		if status, codes := diagnose(); status != "fail" || !strings.Contains(codes, "credits=credits_empty") {
			t.Errorf("%s: %s", status, codes)
		}
	})
}
