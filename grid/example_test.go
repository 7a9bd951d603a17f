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
