package agent_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	openai "github.com/sashabaranov/go-openai"
)

// The benchmark's model: a server that plays a script.

// script is what a model does in each run that is sent to it: it calls tools until
// step Steps-1, and answers then. How far a run has come it reads off the number of
// assistant messages that it is sent, so any number of runs may be under way.
type script struct {
	steps int           // model calls of a run
	calls int           // tool calls in each of them but the last
	burst bool          // a stream comes in one piece, not event by event
	hop   bool          // a 307 comes before each answer, as from the market
	think time.Duration // before each answer
	hold  bool          // the last answer waits until it is released
}

// path is where the script is served: the base URL of a client is server + path.
func (s script) path() string {
	return fmt.Sprintf("/%d-%d-%t-%t-%d-%t/v1", s.steps, s.calls, s.burst, s.hop, s.think.Milliseconds(), s.hold)
}

func parseScript(path string) (s script, ok bool) {
	var think int
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	n, err := fmt.Sscanf(name, "%d-%d-%t-%t-%d-%t", &s.steps, &s.calls, &s.burst, &s.hop, &think, &s.hold)
	s.think = time.Duration(think) * time.Millisecond
	return s, n == 6 && err == nil
}

// finalText is what every run ends with.
const finalText = "The order is on its way and arrives on Tuesday; the fee was paid back."

const thought = "I will look at the record first, since what comes next depends on it: the customer wrote twice, and both times about the same parcel."

// answers are the bytes of one script, made once.
type answers struct {
	whole  [][]byte   // by step
	events [][][]byte // by step, one for each event
}

func (s script) answers() *answers {
	a := &answers{}
	for step := range s.steps {
		text, calls := thought, []deskCall(nil)
		if step == s.steps-1 {
			text = finalText
		} else {
			for i := range s.calls {
				calls = append(calls, deskCalls[(step+i)%len(deskCalls)])
			}
		}
		a.whole = append(a.whole, wholeAnswer(step, text, calls))
		a.events = append(a.events, eventAnswer(step, text, calls))
	}
	return a
}

func usage(step int) string {
	return fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":58,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},`+
		`"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`, 1100+120*step, 1158+120*step)
}

func callID(step, i int) string { return fmt.Sprintf("call_%04d%018d", i, step) }

func finish(calls []deskCall) string {
	if len(calls) > 0 {
		return "tool_calls"
	}
	return "stop"
}

func wholeAnswer(step int, text string, calls []deskCall) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `{"id":"chatcmpl-%024d","object":"chat.completion","created":1780000000,"model":"served-by-a-script","choices":[{"index":0,"message":{"role":"assistant","content":%q`, step, text)
	for i, c := range calls {
		if i == 0 {
			b.WriteString(`,"tool_calls":[`)
		} else {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":%q,"type":"function","function":{"name":%q,"arguments":%q}}`, callID(step, i), c.name, c.args)
		if i == len(calls)-1 {
			b.WriteByte(']')
		}
	}
	fmt.Fprintf(&b, `,"refusal":null,"annotations":[]},"logprobs":null,"finish_reason":%q}],"usage":%s,"service_tier":"default","system_fingerprint":"fp_0123456789"}`, finish(calls), usage(step))
	return []byte(b.String())
}

// eventAnswer is the same answer word by word.
func eventAnswer(step int, text string, calls []deskCall) [][]byte {
	var out [][]byte
	event := func(choices, usage string) {
		out = append(out, fmt.Appendf(nil, `data: {"id":"chatcmpl-%024d","object":"chat.completion.chunk","created":1780000000,"model":"served-by-a-script","service_tier":"default","system_fingerprint":"fp_0123456789","choices":[%s],"usage":%s}`+"\n\n", step, choices, usage))
	}
	delta := func(d string) { event(`{"index":0,"delta":`+d+`,"logprobs":null,"finish_reason":null}`, "null") }
	delta(`{"role":"assistant","content":"","refusal":null}`)
	for _, word := range strings.SplitAfter(text, " ") {
		delta(fmt.Sprintf(`{"content":%q}`, word))
	}
	for i, c := range calls {
		delta(fmt.Sprintf(`{"tool_calls":[{"index":%d,"id":%q,"type":"function","function":{"name":%q,"arguments":""}}]}`, i, callID(step, i), c.name))
		for at := 0; at < len(c.args); at += 4 {
			delta(fmt.Sprintf(`{"tool_calls":[{"index":%d,"function":{"arguments":%q}}]}`, i, c.args[at:min(at+4, len(c.args))]))
		}
	}
	event(fmt.Sprintf(`{"index":0,"delta":{},"logprobs":null,"finish_reason":%q}`, finish(calls)), "null")
	event("", usage(step))
	return append(out, []byte("data: [DONE]\n\n"))
}

const (
	heldPath    = "/held"    // how many answers are held
	releasePath = "/release" // lets them go
)

// held are the answers that wait.
type held struct {
	mu      sync.Mutex
	n       int
	release chan struct{}
}

func (h *held) wait() {
	h.mu.Lock()
	if h.n++; h.release == nil {
		h.release = make(chan struct{})
	}
	release := h.release
	h.mu.Unlock()
	<-release
}

func (h *held) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fmt.Fprint(w, h.n)
	if r.URL.Path == releasePath && h.release != nil {
		close(h.release)
		h.n, h.release = 0, nil
	}
}

// scriptServer serves every script at its path.
func scriptServer() http.Handler {
	var made sync.Map // script -> *answers
	var held held
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == heldPath || r.URL.Path == releasePath {
			held.ServeHTTP(w, r)
			return
		}
		s, ok := parseScript(r.URL.Path)
		body, err := io.ReadAll(r.Body)
		if !ok || err != nil || !strings.HasSuffix(r.URL.Path, "/chat/completions") {
			http.Error(w, "no such script", http.StatusNotFound)
			return
		}
		w.Header().Set("X-Grid-Request-Id", "req_0123456789abcdef")
		if s.hop {
			s.hop = false
			w.Header().Set("Location", s.path()+"/chat/completions?token=of-the-hop")
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		found, ok := made.Load(s)
		if !ok {
			found, _ = made.LoadOrStore(s, s.answers())
		}
		a := found.(*answers)
		step := bytes.Count(body, []byte(`"role":"`+openai.ChatMessageRoleAssistant+`"`))
		if step >= s.steps {
			http.Error(w, "the run has ended", http.StatusConflict)
			return
		}
		time.Sleep(s.think)
		if s.hold && step == s.steps-1 {
			held.wait()
		}
		if !bytes.Contains(body, []byte(`"stream":true`)) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", strconv.Itoa(len(a.whole[step])))
			w.Write(a.whole[step])
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		if s.burst {
			w.Write(bytes.Join(a.events[step], nil))
			return
		}
		out := http.NewResponseController(w)
		for _, e := range a.events[step] {
			w.Write(e)
			out.Flush()
		}
	})
}
