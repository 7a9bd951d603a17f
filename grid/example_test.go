package grid_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

func Example() {
	market := gridtest.New(gridtest.Config{}) // a market in this process; leave out HTTPClient for the real one
	defer market.Close()
	market.Model(func(gridtest.Turn) gridtest.Reply { return gridtest.Reply{Text: "Hello."} })

	client, err := grid.New(grid.Config{APIKey: market.Key(), HTTPClient: &http.Client{Transport: market.Transport()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	talk := grid.NewTranscript()
	if err := talk.Append(grid.SystemMessage("Be brief."), grid.UserMessage("Say hello.")); err != nil {
		fmt.Println(err)
		return
	}
	res, err := client.Chat(context.Background(), &grid.Request{
		Instrument: "agent-prime", Transcript: talk, MaxTokens: 100, Wait: grid.DefaultWait,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.Message.Text(), res.Attempts)
	// Output: Hello. 1
}

// A watch tells of each balance that changes its state, on the goroutine that ranges.
func ExampleWatch() {
	market := gridtest.New(gridtest.Config{Balance: map[string]int64{"agent-prime": 90_000}})
	defer market.Close()

	account, err := grid.NewTrading(grid.TradingConfig{Key: market.TradingKey(), HTTPClient: &http.Client{Transport: market.Transport()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer account.Close()
	watch, err := grid.NewWatch(account, grid.WatchConfig{Profile: grid.WatchBatch, Tokens: map[string]int64{"agent-prime": 2_000_000}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for alert, err := range watch.Alerts(context.Background()) {
		fmt.Println(alert, err)
		break
	}
	// Output: agent-prime: 90000 tokens left, below 2000000 <nil>
}

// A check says what keeps an agent from spending, and the mend. It generates nothing.
func ExampleCheck() {
	market := gridtest.New(gridtest.Config{Credits: -1})
	defer market.Close()
	network := &http.Client{Transport: market.Transport()}

	report := grid.Check(context.Background(), grid.CheckConfig{
		Config:  grid.Config{APIKey: market.Key(), HTTPClient: network},
		Trading: &grid.TradingConfig{Key: market.TradingKey(), HTTPClient: network},
	})
	for _, f := range report.Findings {
		if f.Subject == "credits" {
			fmt.Println(f.Level, f.Text)
			fmt.Println(f.Mend)
		}
	}
	// Output:
	// fail $0.00: nothing can be bought, and requests are answered with 402
	// add credits, or switch on Auto-Reload
}
