package gridtest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid/gridtest"
)

// tokens answers with a fixed usage, so that arithmetic can be read off.
func tokens(prompt, completion int64) func(gridtest.Turn) gridtest.Reply {
	return func(gridtest.Turn) gridtest.Reply {
		return gridtest.Reply{Text: "ok", PromptTokens: prompt, CompletionTokens: completion}
	}
}

func memoryClient(m *gridtest.Market) *http.Client { return &http.Client{Transport: m.Transport()} }

func TestLotsAreDrawnSoonestExpiringFirst(t *testing.T) {
	const hour = time.Hour
	type lot struct {
		tokens, price int64
		expires       time.Duration // zero: never
	}
	for _, row := range []struct {
		name      string
		lots      []lot
		draws     []int64 // tokens of each request
		wait      time.Duration
		wantLots  string // of the last request
		wantBills []int64
		wantLeft  int64
	}{
		{"one lot, exact price", []lot{{1000, 2_000_000, 0}}, []int64{500}, 0, "[{500 2000000}]", []int64{1000}, 500},
		{"a fraction of a nano-USD is rounded up", []lot{{1000, 1, 0}}, []int64{3}, 0, "[{3 1}]", []int64{1}, 997},
		{"rounded once per request, not per lot", []lot{{1, 500_000, 0}, {1, 500_000, 0}}, []int64{2}, 0, "[{1 500000} {1 500000}]", []int64{1}, 0},
		{"rounded per request, then added", []lot{{2, 500_000, 0}}, []int64{1, 1}, 0, "[{1 500000}]", []int64{1, 1}, 0},
		{"the older of two without expiry first", []lot{{10, 1_000_000, 0}, {10, 9_000_000, 0}}, []int64{15}, 0, "[{10 1000000} {5 9000000}]", []int64{55}, 5},
		{"soonest expiring before older", []lot{{10, 1_000_000, 0}, {10, 9_000_000, 2 * hour}, {10, 3_000_000, hour}}, []int64{15}, 0, "[{10 3000000} {5 9000000}]", []int64{75}, 15},
		{"an expired lot is lost", []lot{{10, 1_000_000, hour}, {10, 9_000_000, 0}}, []int64{5}, hour, "[{5 9000000}]", []int64{45}, 5},
		{"an overdraft costs what the last lot did", []lot{{10, 1_000_000, hour}, {10, 9_000_000, 0}}, []int64{25}, 0, "[{10 1000000} {10 9000000} {5 9000000}]", []int64{145}, -5},
		{"large numbers stay exact", []lot{{9_000_000_000_000_000, 9_000_000_000, 0}}, []int64{1_000_000_000_000_001}, 0, "[{1000000000000001 9000000000}]", []int64{9_000_000_000_000_009_000}, 7_999_999_999_999_999},
		{"too large numbers saturate", []lot{{9_000_000_000_000_000_000, 9_000_000_000_000, 0}}, []int64{8_000_000_000_000_000_000}, 0, "[{8000000000000000000 9000000000000}]", []int64{9_223_372_036_854_775_807}, 1_000_000_000_000_000_000},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := gridtest.New(gridtest.Config{Balance: map[string]int64{"text-prime": 0}})
				defer m.Close()
				for _, l := range row.lots {
					var expires time.Time
					if l.expires > 0 {
						expires = time.Now().Add(l.expires)
					}
					m.AddLot("text-prime", gridtest.Lot{Tokens: l.tokens, PriceNanoUSD: l.price, Expires: expires})
				}
				time.Sleep(row.wait)
				var sum uint64
				for i, n := range row.draws {
					m.Model(tokens(1, n-1))
					if n == 1 {
						m.Model(tokens(1, -1))
					}
					status, header, body := chat(t, memoryClient(m), m.BaseURL(), m.Key(), hello)
					if status != 200 {
						t.Fatalf("%d %s", status, body)
					}
					cost, _ := m.BillByRequest(header.Get("x-grid-request-id"))
					if cost != row.wantBills[i] {
						t.Errorf("request %d of %d tokens cost %d, want %d", i, n, cost, row.wantBills[i])
					}
					sum += uint64(row.wantBills[i])
				}
				records := m.Requests()
				if got := fmt.Sprint(records[len(records)-1].Lots); got != row.wantLots {
					t.Errorf("drew %s, want %s", got, row.wantLots)
				}
				if got := m.Balance("text-prime"); got != row.wantLeft {
					t.Errorf("%d tokens left, want %d", got, row.wantLeft)
				}
				if got := m.Bill(""); uint64(got) != sum {
					t.Errorf("bill %d, want %d", got, sum)
				}
				m.AssertDone(t)
			})
		})
	}
}

func TestTopUpTakesExactlyItsDelay(t *testing.T) {
	for _, row := range []struct {
		name string
		dry  gridtest.Dry
		want string
	}{
		{"402 then 503", gridtest.Dry402Then503, "402 503 503 200 "},
		{"402 throughout", gridtest.Dry402, "402 402 402 200 "},
		{"503 throughout", gridtest.Dry503, "503 503 503 200 "},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := gridtest.New(gridtest.Config{
					Dry:     row.dry,
					Credits: 2_000_000_000,
					Balance: map[string]int64{"text-prime": 0},
					TopUp:   gridtest.TopUp{Delay: 6 * time.Second, Quantity: 3_000_000, Price: func(_ string, n int) int64 { return int64(n) * 500_000_000 }},
				})
				defer m.Close()
				m.Model(tokens(100, 100))
				var got strings.Builder
				ask := func() {
					status, _, _ := chat(t, memoryClient(m), m.BaseURL(), m.Key(), hello)
					fmt.Fprintf(&got, "%d ", status)
				}
				ask()
				if m.Credits() != 500_000_000 {
					t.Errorf("credits %d while buying, want what 3 Units at $0.50 leave of $2", m.Credits())
				}
				ask()
				time.Sleep(6*time.Second - time.Nanosecond)
				ask()
				time.Sleep(time.Nanosecond)
				ask()
				if got.String() != row.want {
					t.Errorf("answers %s, want %s", &got, row.want)
				}
				if m.Balance("text-prime") != 3_000_000-200 || m.Bill("") != 100_000 {
					t.Errorf("balance %d, bill %d", m.Balance("text-prime"), m.Bill(""))
				}

				// The second purchase is dearer and only as large as the credits allow.
				m.SetBalance("text-prime", 0)
				ask()
				time.Sleep(6 * time.Second)
				if m.Balance("text-prime") != 500_000 || m.Credits() != 0 {
					t.Errorf("bought %d tokens, %d credits left", m.Balance("text-prime"), m.Credits())
				}
				got.Reset()
				ask()
				if got.String() != "402 " {
					t.Errorf("without credits: %s", &got)
				}
				m.SetCredits(1)
				got.Reset()
				ask()
				if got.String() != "200 " {
					t.Errorf("with credits again: %s", &got)
				}
			})
		})
	}
}

func TestManualFundingNeverHealsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{Balance: map[string]int64{"text-prime": 0}, TopUp: gridtest.TopUp{Manual: true}})
		defer m.Close()
		for range 3 {
			if status, _, _ := chat(t, memoryClient(m), m.BaseURL(), m.Key(), hello); status != 402 {
				t.Errorf("dry: %d", status)
			}
			time.Sleep(time.Hour)
		}
		m.AddLot("text-prime", gridtest.Lot{Tokens: 1_000_000})
		if status, _, _ := chat(t, memoryClient(m), m.BaseURL(), m.Key(), hello); status != 200 {
			t.Errorf("after a lot was bought: %d", status)
		}
	})
}

func TestBoughtLotsExpireWithTheirWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{Balance: map[string]int64{"text-prime": 0}, TopUp: gridtest.TopUp{Delay: time.Second, Window: 4 * time.Hour}})
		defer m.Close()
		chat(t, memoryClient(m), m.BaseURL(), m.Key(), hello)
		time.Sleep(time.Second + 4*time.Hour - 1)
		if got := m.Balance("text-prime"); got != 10_000_000 {
			t.Errorf("%d tokens before the window ends", got)
		}
		time.Sleep(time.Nanosecond)
		if got := m.Balance("text-prime"); got != 0 {
			t.Errorf("%d tokens after the window", got)
		}
	})
}

func TestAnOverdraftIsTakenFromTheNextLot(t *testing.T) {
	m := gridtest.New(gridtest.Config{Balance: map[string]int64{"text-prime": 10}})
	defer m.Close()
	m.Model(tokens(20, 10))
	chat(t, memoryClient(m), m.BaseURL(), m.Key(), hello)
	if got := m.Balance("text-prime"); got != -20 {
		t.Errorf("balance %d, want -20", got)
	}
	if status, _, _ := chat(t, memoryClient(m), m.BaseURL(), m.Key(), hello); status != 402 {
		t.Errorf("an overdrawn instrument answers %d", status)
	}
	m.AddLot("text-prime", gridtest.Lot{Tokens: 100, PriceNanoUSD: 5})
	if got := m.Balance("text-prime"); got != 80 {
		t.Errorf("balance %d, want 80", got)
	}
}

func TestTheBillIsTheSumOfParallelRequests(t *testing.T) {
	ways(t, gridtest.Config{}, func(t *testing.T, m *gridtest.Market, client *http.Client, base string) {
		for i := range 40 {
			m.AddLot("text-prime", gridtest.Lot{Tokens: 777, PriceNanoUSD: int64(300_000_001 + i), Expires: time.Now().Add(time.Duration(i+1) * time.Hour)})
		}
		second := m.NewKey("second")
		var all sync.WaitGroup
		slots := make(chan struct{}, 32)
		for i := range 200 {
			all.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				key := m.Key()
				if i%4 == 0 {
					key = second
				}
				body := strings.Replace(hello, "Hello?", strings.Repeat("Hello? ", i), 1)
				if i%2 == 0 {
					body = strings.Replace(body, "{", `{"stream":true,`, 1)
				}
				if status, _, answer := chat(t, client, base, key, body); status != 200 {
					t.Errorf("%d %s", status, answer)
				}
			})
		}
		all.Wait()
		var sum, drawn, counted int64
		for _, r := range m.Requests() {
			sum += r.CostNanoUSD
			counted += r.PromptTokens + r.CompletionTokens
			for _, d := range r.Lots {
				drawn += d.Tokens
			}
		}
		if m.Bill("") != sum || sum == 0 || drawn != counted {
			t.Errorf("bill %d, records %d; drawn %d, counted %d", m.Bill(""), sum, drawn, counted)
		}
		if a, b := m.Bill("default"), m.Bill(second); a+b != sum || b == 0 || m.Bill("second") != b {
			t.Errorf("bills %d and %d of the two keys, want %d", a, b, sum)
		}
		if left := m.Balance("text-prime"); left != 1_000_000_000+40*777-drawn {
			t.Errorf("%d tokens left after %d were drawn", left, drawn)
		}
	})
}

func TestAClientThatLeavesIsBilledInFull(t *testing.T) {
	for _, free := range []bool{false, true} {
		t.Run(fmt.Sprintf("cut unbilled %v", free), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := gridtest.New(gridtest.Config{CutUnbilled: free})
				defer m.Close()
				m.Model(func(gridtest.Turn) gridtest.Reply {
					return gridtest.Reply{Text: "one two three", PromptTokens: 1_000_000, CompletionTokens: 1_000_000, DeltaDelay: time.Second, Chunks: 10}
				})
				before := m.Balance("text-prime")
				resp := post(t, memoryClient(m), m.BaseURL()+"/chat/completions", m.Key(), strings.Replace(hello, "{", `{"stream":true,`, 1))
				if _, err := io.ReadFull(resp.Body, make([]byte, 100)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2500 * time.Millisecond)
				resp.Body.Close()
				synctest.Wait()
				wantBill, wantDrawn := int64(1_200_000_000), int64(2_000_000)
				if free {
					wantBill, wantDrawn = 0, 0
				}
				if got := m.Bill(""); got != wantBill {
					t.Errorf("bill %d, want %d", got, wantBill)
				}
				if got := before - m.Balance("text-prime"); got != wantDrawn {
					t.Errorf("drawn %d tokens, want %d", got, wantDrawn)
				}
			})
		})
	}
}
