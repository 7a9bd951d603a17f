package gridtest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid/gridtest"
)

func TestTheRouterRefusesKeysPathsAndMethods(t *testing.T) {
	ways(t, gridtest.Config{}, func(t *testing.T, m *gridtest.Market, client *http.Client, base string) {
		root := strings.TrimSuffix(base, "/v1")
		for _, row := range []struct {
			name, method, url, header, value string
			want                             int
			wantDetail                       string
		}{
			{"no key", "POST", base + "/chat/completions", "X-Nothing", "", 401, "Missing API key"},
			{"wrong key", "POST", base + "/chat/completions", "Authorization", "Bearer nobody", 401, "Invalid API key"},
			{"no Bearer", "POST", base + "/chat/completions", "Authorization", m.Key(), 401, "Missing API key"},
			{"the other host's header", "POST", base + "/chat/completions", "X-Api-Key", m.Key(), 401, "not as x-api-key"},
			{"a trading key", "POST", base + "/chat/completions", "Authorization", "Bearer " + m.TradingKey(), 401, "Trading keys cannot be used"},
			{"doubled /v1", "POST", root + "/v1/v1/chat/completions", "Authorization", "Bearer " + m.Key(), 404, "Not Found"},
			{"chat by GET", "GET", base + "/chat/completions", "Authorization", "Bearer " + m.Key(), 405, "takes POST"},
			{"models by POST", "POST", base + "/models", "Authorization", "Bearer " + m.Key(), 405, "takes GET"},
			{"receipt without a key", "GET", base + "/usage/req_1", "X-Nothing", "", 401, "Missing API key"},
			{"no token", "POST", root + "/r/v1/chat/completions", "X-Nothing", "", 401, "Invalid or expired token"},
		} {
			req, err := http.NewRequest(row.method, row.url, strings.NewReader(hello))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set(row.header, row.value)
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != row.want || !strings.Contains(string(body), row.wantDetail) {
				t.Errorf("%s: %d %s, want %d %q", row.name, resp.StatusCode, body, row.want, row.wantDetail)
			}
			if envelope := strings.HasPrefix(string(body), `{"errors":{"detail":"`); envelope != !strings.Contains(row.url, "/r/") {
				t.Errorf("%s: envelope %s", row.name, body)
			}
		}
		if m.Bill("") != 0 {
			t.Errorf("bill %d", m.Bill(""))
		}
	})
}

func TestTheRouterRefusesRequests(t *testing.T) {
	m := gridtest.New(gridtest.Config{Instruments: []gridtest.Instrument{{ID: "text-prime", MaxInput: 200, MaxOutput: 100}}})
	defer m.Close()
	const user = `"model":"text-prime","messages":[{"role":"user","content":"x"}]`
	for _, row := range []struct {
		name, body string
		want       int
	}{
		{"as it should be", `{` + user + `}`, 200},
		{"capital letters", `{"model":"Text-Prime","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}`, 200},
		{"everything at its limit", `{` + user + `,"temperature":2,"top_p":0,"frequency_penalty":-2,"presence_penalty":2,"n":1,"top_logprobs":20,"stop":["a","b","c","d"],"max_tokens":100,"max_completion_tokens":null}`, 200},
		{"not JSON", `{`, 400},
		{"empty", ``, 400},
		{"a list", `[]`, 400},
		{"temperature of the wrong type", `{` + user + `,"temperature":"hot"}`, 400},
		{"messages of the wrong type", `{"model":"text-prime","messages":"x"}`, 400},
		{"content of the wrong type", `{"model":"text-prime","messages":[{"role":"user","content":7}]}`, 400},
		{"no model", `{"messages":[{"role":"user","content":"x"}]}`, 422},
		{"unknown instrument", `{"model":"gpt-5.2","messages":[{"role":"user","content":"x"}]}`, 404},
		{"no messages", `{"model":"text-prime","messages":[]}`, 422},
		{"messages are missing", `{"model":"text-prime"}`, 422},
		{"unknown role", `{"model":"text-prime","messages":[{"role":"boss","content":"x"}]}`, 422},
		{"too hot", `{` + user + `,"temperature":2.1}`, 422},
		{"top_p", `{` + user + `,"top_p":-0.1}`, 422},
		{"frequency_penalty", `{` + user + `,"frequency_penalty":3}`, 422},
		{"presence_penalty", `{` + user + `,"presence_penalty":-3}`, 422},
		{"n of zero", `{` + user + `,"n":0}`, 422},
		{"n of two", `{` + user + `,"n":2}`, 422},
		{"top_logprobs", `{` + user + `,"top_logprobs":21}`, 422},
		{"five stops", `{` + user + `,"stop":["1","2","3","4","5"]}`, 422},
		{"max_tokens of zero", `{` + user + `,"max_tokens":0}`, 422},
		{"max_completion_tokens above the limit", `{` + user + `,"max_completion_tokens":101}`, 422},
		{"too long a prompt", `{"model":"text-prime","messages":[{"role":"user","content":"` + strings.Repeat("x", 800) + `"}]}`, 422},
		{"tools that are no list", `{` + user + `,"tools":{}}`, 422},
		{"a tool without a function", `{` + user + `,"tools":[{"type":"function"}]}`, 422},
		{"a tool with a bad name", `{` + user + `,"tools":[{"type":"function","function":{"name":"look up"}}]}`, 422},
		{"a tool with a bad schema", `{` + user + `,"tools":[{"type":"function","function":{"name":"f","parameters":true}}]}`, 422},
		{"a tool that is there twice", `{` + user + `,"tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"f"}}]}`, 422},
		{"a tool", `{` + user + `,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]}`, 200},
		{"unknown response_format", `{` + user + `,"response_format":{"type":"yaml"}}`, 422},
		{"response_format of the wrong type", `{` + user + `,"response_format":"json"}`, 422},
		{"json_schema without a schema", `{` + user + `,"response_format":{"type":"json_schema","json_schema":{"name":"x"}}}`, 422},
		{"json_schema", `{` + user + `,"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{}}}}`, 200},
	} {
		status, _, body := chat(t, memoryClient(m), m.BaseURL(), m.Key(), row.body)
		if status != row.want {
			t.Errorf("%s: %d %s, want %d", row.name, status, body, row.want)
		}
		if status >= 400 && !strings.HasPrefix(body, `{"errors":{"detail":"`) {
			t.Errorf("%s: envelope %s", row.name, body)
		}
	}
	m.AssertDone(t)
}

func TestASupplierRefusesUnansweredToolCalls(t *testing.T) {
	const (
		user   = `{"role":"user","content":"x"}`
		calls  = `{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"f","arguments":"{}"}}]}`
		ra     = `{"role":"tool","tool_call_id":"a","content":"1"}`
		rb     = `{"role":"tool","tool_call_id":"b","content":"2"}`
		system = `{"role":"system","content":"y"}`
	)
	m := gridtest.New(gridtest.Config{})
	defer m.Close()
	for _, row := range []struct {
		name     string
		messages []string
		want     int
	}{
		{"all answered", []string{user, calls, ra, rb}, 200},
		{"in another order", []string{user, calls, rb, ra, user}, 200},
		{"the same ids in a later message", []string{user, calls, ra, rb, calls, ra, rb}, 200},
		{"none answered", []string{user, calls}, 400},
		{"one missing", []string{user, calls, ra}, 400},
		{"one missing before the next message", []string{user, calls, ra, user}, 400},
		{"one answered twice", []string{user, calls, ra, ra, rb}, 400},
		{"an answer to nothing", []string{user, ra}, 400},
		{"an answer too late", []string{user, calls, ra, rb, user, ra}, 400},
		{"a message in between", []string{user, calls, ra, system, rb}, 400},
	} {
		body := `{"model":"text-prime","messages":[` + strings.Join(row.messages, ",") + `]}`
		status, _, answer := chat(t, memoryClient(m), m.BaseURL(), m.Key(), body)
		if status != row.want || status == 400 && !strings.HasPrefix(answer, `{"error":{"message":"`) {
			t.Errorf("%s: %d %s, want %d", row.name, status, answer, row.want)
		}
	}
}

func TestARedirectIsGoodForAMinuteAndItsOwnBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{})
		defer m.Close()
		client := memoryClient(m)
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		follow := func(wait time.Duration, body string) int {
			resp := post(t, client, m.BaseURL()+"/chat/completions", m.Key(), hello)
			resp.Body.Close()
			time.Sleep(wait)
			second := post(t, client, resp.Header.Get("Location"), "", body)
			second.Body.Close()
			return second.StatusCode
		}
		got := fmt.Sprint(follow(time.Minute-1, hello), follow(time.Minute, hello), follow(0, ""), follow(0, hello+" "))
		if want := "200 401 400 400"; got != want {
			t.Errorf("in time, too late, without a body, with another body: %s, want %s", got, want)
		}
	})
}

func TestTheSecondHopCanBeOnAnotherHost(t *testing.T) {
	ways(t, gridtest.Config{Redirect: gridtest.OtherHost}, func(t *testing.T, m *gridtest.Market, client *http.Client, base string) {
		noFollow := *client
		noFollow.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		resp := post(t, &noFollow, base+"/chat/completions", m.Key(), hello)
		resp.Body.Close()
		location, err := resp.Location()
		if err != nil {
			t.Fatal(err)
		}
		if got := location.Hostname(); got != "localhost" && got != "synapse.thegrid.ai" {
			t.Errorf("the second hop is at %s", got)
		}
		if status, _, body := chat(t, client, base, m.Key(), hello); status != 200 {
			t.Errorf("followed: %d %s", status, body)
		}
	})
}
