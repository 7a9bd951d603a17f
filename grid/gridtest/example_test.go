package gridtest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	openai "github.com/sashabaranov/go-openai"

	"github.com/gridloop/gridloop/grid/gridtest"
)

// A service's own test: the market stands where the platform will.
func Example() {
	market := gridtest.New(gridtest.Config{})
	defer market.Close()
	market.Model(func(turn gridtest.Turn) gridtest.Reply {
		return gridtest.Reply{Text: "You said: " + turn.Last().Content}
	})

	config := openai.DefaultConfig(market.Key())
	config.BaseURL = market.BaseURL()
	config.HTTPClient = &http.Client{Transport: market.Transport()}
	answer, err := openai.NewClientWithConfig(config).CreateChatCompletion(context.Background(), openai.ChatCompletionRequest{
		Model:    "text-prime",
		Messages: []openai.ChatCompletionMessage{{Role: openai.ChatMessageRoleUser, Content: "Hello?"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(answer.Choices[0].Message.Content)
	fmt.Println("tokens:", answer.Usage.TotalTokens, "bill in nano-USD:", market.Bill(market.Key()))
	// Output:
	// You said: Hello?
	// tokens: 26 bill in nano-USD: 15600
}

// A script says what the model answers, and checks what it was sent.
func ExampleMarket_Script() {
	var t *testing.T // of the test
	market := gridtest.New(gridtest.Config{})
	defer market.Close()
	market.Script("refund", nil,
		gridtest.CallTools(gridtest.Call("lookup_order", `{"id":42}`)),
		gridtest.Say("It was refunded.").Expect(func(turn gridtest.Turn) error {
			if turn.Last().Role != "tool" {
				return errors.New("the order was not looked up")
			}
			return nil
		}),
	)
	// ... run the agent, then:
	if t != nil {
		market.AssertDone(t)
	}
}

// Faults are armed before the requests that they strike.
func ExampleMarket_Fault() {
	market := gridtest.New(gridtest.Config{})
	defer market.Close()
	market.Fault(gridtest.TopUpRun("agent-prime")...)                             // 402, 503, then served
	market.Fault(gridtest.Fault{On: 5, Kind: gridtest.CutStream, AfterChunks: 3}) // the fifth answer breaks off
	market.Fault(gridtest.Fault{Rate: 0.01, Status: 502, Hop: 2})                 // one in a hundred, by the seed
}
