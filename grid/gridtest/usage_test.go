package gridtest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid/gridtest"
)

type receipt struct {
	RequestID      string `json:"request_id"`
	Status         string
	RequestedModel string `json:"requested_model"`
	ServingModel   string `json:"serving_model"`
	APIKeyID       string `json:"api_key_id"`
	Usage          struct {
		InputTokens  int64 `json:"input_tokens"`
		OutputTokens int64 `json:"output_tokens"`
		TotalTokens  int64 `json:"total_tokens"`
	}
	Cost struct {
		Amount       *string
		Status       string
		PerToken     *string `json:"effective_price_per_token"`
		ReconciledAt *string `json:"reconciled_at"`
		Breakdown    []struct {
			Price    string `json:"acquisition_price_per_token"`
			Tokens   int64
			Subtotal string
		}
	}
	Timing struct {
		TTFT     int64 `json:"ttft_ms"`
		Duration int64 `json:"duration_ms"`
	}
}

func get(t *testing.T, m *gridtest.Market, path string, into any) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, m.BaseURL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+m.Key())
	resp, err := memoryClient(m).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(body, into); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
	}
	return resp.StatusCode
}

func TestReceiptsSettleLateAndAgreeWithTheBill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{Balance: map[string]int64{"text-prime": 0}, ReceiptDelay: 5 * time.Second, Latency: 2 * time.Second})
		defer m.Close()
		m.AddLot("text-prime", gridtest.Lot{Tokens: 100, PriceNanoUSD: 600_000_001})
		m.AddLot("text-prime", gridtest.Lot{Tokens: 1000, PriceNanoUSD: 700_000_000})
		m.Model(tokens(100, 33))
		_, header, _ := chat(t, memoryClient(m), m.BaseURL(), m.Key(), hello)
		id := header.Get("x-grid-request-id")
		var r receipt
		time.Sleep(5*time.Second - 1)
		if get(t, m, "/usage/"+id, &r); r.Status != "pending" || r.Cost.Status != "pending" || r.Cost.Amount != nil || r.Cost.ReconciledAt != nil {
			t.Errorf("too early: %+v", r)
		}
		time.Sleep(time.Nanosecond)
		r = receipt{}
		if get(t, m, "/usage/"+id, &r); r.Status != "reconciled" || r.Cost.Status != "reconciled" || r.Cost.Amount == nil || *r.Cost.Amount != "0.0000831000001" || r.Cost.ReconciledAt == nil {
			t.Fatalf("settled: %+v", r)
		}
		if cost, _ := m.BillByRequest(id); cost != 83_101 {
			t.Errorf("bill %d, want the amount rounded up to a nano-USD", cost)
		}
		if got, want := fmt.Sprint(r.Cost.Breakdown), "[{0.000000600000001 100 0.0000600000001} {0.0000007 33 0.0000231}]"; got != want {
			t.Errorf("lots %s, want %s", got, want)
		}
		if r.RequestID != id || r.RequestedModel != "text-prime" || r.ServingModel == "text-prime" || r.Usage.InputTokens != 100 || r.Usage.TotalTokens != 133 || r.Timing.Duration != 2000 || r.Timing.TTFT != 2000 {
			t.Errorf("receipt %+v", r)
		}
		if status := get(t, m, "/usage/req_unknown", nil); status != 404 {
			t.Errorf("an unknown receipt: %d", status)
		}
	})
}

func TestReceiptsOfUnbilledRequestsCostNothing(t *testing.T) {
	m := gridtest.New(gridtest.Config{ReceiptDelay: -1})
	defer m.Close()
	m.Fault(gridtest.Fault{Status: 500, Hop: 2})
	_, header, _ := chat(t, memoryClient(m), m.BaseURL(), m.Key(), hello)
	var r receipt
	get(t, m, "/usage/"+header.Get("x-grid-request-id"), &r)
	if r.Status != "error" || r.Cost.Status != "cancelled" || r.Cost.Amount == nil || *r.Cost.Amount != "0" {
		t.Errorf("receipt %+v", r)
	}
}

func TestUsageListsPagesAndFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{ReceiptDelay: -1})
		defer m.Close()
		second := m.NewKey("second")
		var bill int64
		for i := range 7 {
			m.Model(tokens(int64(100*(7-i)), 11))
			key := m.Key()
			if i == 3 {
				key = second
			}
			body := hello
			if i > 4 {
				body = strings.Replace(hello, "text-prime", "text-max", 1)
			}
			chat(t, memoryClient(m), m.BaseURL(), key, body)
			time.Sleep(time.Second)
		}
		bill = m.Bill("")
		type page struct {
			Data   []receipt
			Paging struct {
				Next *string `json:"next_cursor"`
				Prev *string `json:"prev_cursor"`
				More bool    `json:"has_more"`
			}
		}
		var seen []int64
		for path := "/usage?limit=3"; ; {
			var p page
			get(t, m, path, &p)
			for _, r := range p.Data {
				seen = append(seen, r.Usage.InputTokens)
			}
			if p.Paging.More != (p.Paging.Next != nil) {
				t.Fatalf("paging %+v", p.Paging)
			}
			if !p.Paging.More {
				break
			}
			path = "/usage?limit=3&next=" + *p.Paging.Next
		}
		if got := fmt.Sprint(seen); got != "[100 200 300 400 500 600 700]" {
			t.Errorf("newest first: %s", got)
		}
		from := m.Requests()[8].Time.UTC().Format(time.RFC3339Nano) // the fifth request's first hop
		for query, want := range map[string]int{
			"model=text-max": 2, "api_key_id=key_1": 1, "status=pending": 0, "cost_status=reconciled": 7,
			"from=" + from: 3, "to=" + from: 4, "order_by=total_tokens&limit=1": 1, "prev=3&limit=3": 3,
		} {
			var p page
			if status := get(t, m, "/usage?"+query, &p); status != 200 || len(p.Data) != want {
				t.Errorf("%s: %d with %d receipts, want %d", query, status, len(p.Data), want)
			}
			if strings.HasPrefix(query, "order_by") && p.Data[0].Usage.InputTokens != 700 {
				t.Errorf("largest first: %+v", p.Data[0])
			}
		}
		for _, query := range []string{"limit=0", "limit=101", "limit=x", "next=1&prev=2", "next=-1", "order_by=price", "from=yesterday"} {
			if status := get(t, m, "/usage?"+query, nil); status != 422 {
				t.Errorf("%s: %d, want 422", query, status)
			}
		}

		var summary struct {
			Data struct {
				Totals struct {
					Requests int64 `json:"request_count"`
					Tokens   int64
					Cost     struct {
						Reconciled string `json:"reconciled_amount"`
					}
				}
				Groups []struct {
					Key      string
					Requests int64 `json:"request_count"`
				}
			}
		}
		get(t, m, "/usage/summary?group_by=model", &summary)
		total, _ := new(big.Rat).SetString(summary.Data.Totals.Cost.Reconciled)
		if total == nil || total.Cmp(big.NewRat(bill, 1_000_000_000)) != 0 || summary.Data.Totals.Requests != 7 || summary.Data.Totals.Tokens != 2800+77 {
			t.Errorf("totals %+v, want the bill of %d", summary.Data.Totals, bill)
		}
		if got := fmt.Sprint(summary.Data.Groups); got != "[{text-prime 5} {text-max 2}]" {
			t.Errorf("groups %s", got)
		}
		if status := get(t, m, "/usage/summary?group_by=week", nil); status != 422 {
			t.Errorf("group_by=week: %d", status)
		}
	})
}
