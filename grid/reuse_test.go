package grid_test

import (
	"net/http"
	"reflect"
	"testing"

	"github.com/gridloop/gridloop/grid"
)

// An answer is read with the memory of the one before it. Nothing of that one may show,
// nor may what was handed out change later.
func TestAnswersDoNotMixWithThoseBefore(t *testing.T) {
	const head, tail = `{"id":"x","model":"m\u0061x","choices":[{"index":0,"message":`, `,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2}}}`
	bodies := []string{
		head + `{"role":"assistant","content":null,"annotations":["first"],"reasoning_content":"long thoughts","tool_calls":[` +
			`{"id":"a","type":"function","function":{"name":"look","arguments":"{\"at\":\"a long way from here\"}"},"extra_content":{"sign":1}},` +
			`{"id":"b","type":"odd","function":{"name":"lo\u006fk","arguments":"{\"at\":2}"}}]}` + tail,
		head + `{"role":"assistant","content":"words","annotations":["second","third"]}` + tail,
		head + `{"content":null,"tool_calls":[{"function":{"name":"other","arguments":"{}"}}]}` + tail,
		head + `{"content":null,"reasoning":"short","tool_calls":[{"id":"c","function":{"name":"look","arguments":{"at":3}},"mark":true}]}` + `,"finish_reason":"length"}]}`,
	}
	tools, err := grid.NewToolList([]grid.ToolDef{{Name: "look"}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(c *grid.Client) *grid.Response {
		t.Helper()
		res, err := c.Chat(t.Context(), &grid.Request{Instrument: "agent-prime", Messages: []grid.Message{grid.UserMessage("go")}, Tools: tools})
		if err != nil {
			t.Fatal(err)
		}
		res.FirstDelta = 0
		return res
	}
	at := 0
	client := func() *grid.Client {
		c, err := grid.New(grid.Config{APIKey: "key", HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			return (&served{status: http.StatusOK, body: []byte(bodies[at])}).RoundTrip(r)
		})}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	alone := make([]*grid.Response, len(bodies))
	for at = range bodies {
		alone[at] = ask(client())
	}
	one := client()
	for range 3 {
		var together []*grid.Response
		for at = range bodies {
			together = append(together, ask(one))
		}
		for at = len(bodies) - 1; at >= 0; at-- {
			ask(one)
		}
		for i := range together {
			if !reflect.DeepEqual(together[i], alone[i]) {
				t.Fatalf("answer %d\n is %+v\nwant %+v", i, together[i], alone[i])
			}
		}
	}
}
