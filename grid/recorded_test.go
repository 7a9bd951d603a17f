package grid_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/grid"
)

// recordedDir returns where recorded traffic is, and skips where there is none.
func recordedDir(t testing.TB, sub string) string {
	t.Helper()
	dir := os.Getenv("GRIDLOOP_TESTDATA")
	if dir == "" {
		if os.Getenv("GRIDLOOP_REQUIRE") != "" {
			t.Fatal("GRIDLOOP_TESTDATA is not set, and GRIDLOOP_REQUIRE wants it")
		}
		t.Skip("GRIDLOOP_TESTDATA is not set")
	}
	return filepath.Join(dir, sub)
}

// served is a RoundTripper that answers everything with the same bytes.
type served struct {
	status int
	header http.Header
	body   []byte
	cut    int // bytes per read; 0 is as many as fit
	calls  int
}

func (s *served) RoundTrip(r *http.Request) (*http.Response, error) {
	s.calls++
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	h := s.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	var body io.Reader = bytes.NewReader(s.body)
	if s.cut > 0 {
		body = &inPieces{bytes.NewReader(s.body), s.cut}
	}
	return &http.Response{
		StatusCode: s.status, Status: http.StatusText(s.status), Header: h, Body: io.NopCloser(body),
		ContentLength: -1, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
	}, nil
}

type inPieces struct {
	r io.Reader
	n int
}

func (p *inPieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.n)]) }

func served200(body string) *served { return &served{status: 200, body: []byte(body)} }

// read serves the bytes to a client without retries.
func read(t testing.TB, s *served, stream bool) (*grid.Response, string, error) {
	t.Helper()
	c := client(t, "https://market.test", func(cfg *grid.Config) {
		cfg.HTTPClient = &http.Client{Transport: s}
		cfg.Retry = grid.Retry{Max: -1}
	})
	var live strings.Builder
	req := ask("hi")
	req.Stream = stream
	req.OnDelta = func(d grid.Delta) { live.WriteString(d.Text) }
	res, err := c.Chat(context.Background(), req)
	return res, live.String(), err
}

type interaction struct {
	Provider string `json:"provider"`
	Request  struct {
		Body string `json:"body"`
	} `json:"request"`
	Response struct {
		Status  int               `json:"status"`
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body"`
	} `json:"response"`
}

func recordings(t testing.TB, each func(name string, at int, in interaction)) {
	t.Helper()
	root := recordedDir(t, "recordings")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Dir(path) == root || filepath.Ext(path) != ".json" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var all []interaction
		if err := json.Unmarshal(b, &all); err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		for i, in := range all {
			each(name, i, in)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func serve(in interaction) *served {
	s := &served{status: in.Response.Status, header: http.Header{}, body: []byte(in.Response.Body)}
	for k, v := range in.Response.Headers {
		s.header.Set(k, v)
	}
	return s
}

// refusedRecordings are those whose provider reported an error inside a 200.
func refusedRecordings() map[string]grid.Class {
	return map[string]grid.Class{
		"openllmetry/azure/opentelemetry-instrumentation-openai-test_azure-test_prompt_content_filtering.json#0":                             grid.ClassContent,
		"openllmetry/azure/opentelemetry-instrumentation-openai-test_azure-test_prompt_content_filtering_with_events_with_content.json#0":    grid.ClassContent,
		"openllmetry/azure/opentelemetry-instrumentation-openai-test_azure-test_prompt_content_filtering_with_events_with_no_content.json#0": grid.ClassContent,
		"pydantic-ai/groq/models-test_groq-test_tool_use_failed_error_streaming.json#0":                                                      grid.ClassMalformed,
		"pydantic-ai/groq/models-test_groq-test_tool_use_failed_error_streaming_with_text.json#0":                                            grid.ClassMalformed,
		"pydantic-ai/pydantic-gateway/models-test_openai-test_invalid_response.json#0":                                                       grid.ClassMalformed,
	}
}

func isStream(body string) bool {
	return !strings.HasPrefix(strings.TrimSpace(body), "{")
}

func TestEveryRecordingMeansWhatASlowReaderReads(t *testing.T) {
	refused := refusedRecordings()
	n, inPieces := 0, 0
	recordings(t, func(name string, at int, in interaction) {
		n++
		stream := isStream(in.Response.Body)
		res, live, err := read(t, serve(in), stream)
		var e *grid.Error
		if in.Response.Status >= 400 {
			if !errors.As(err, &e) || e.Status != in.Response.Status || e.Message == "" || e.Class == "" {
				t.Errorf("%s#%d: status %d gave %v", name, at, in.Response.Status, err)
			}
			return
		}
		if class, ok := refused[fmt.Sprintf("%s#%d", name, at)]; ok {
			if !errors.As(err, &e) || e.Class != class {
				t.Errorf("%s#%d: want %s, got %v", name, at, class, err)
			}
			return
		}
		if err != nil {
			t.Errorf("%s#%d: %v", name, at, err)
			return
		}
		slow := readSlowly(in.Response.Body)
		if len(res.Message.Parts) > 0 && res.Message.Parts[0] == '{' {
			slow.Text = res.Message.Text() // an object: its text is as received
		}
		if got := meaning(res); !reflect.DeepEqual(got, slow) {
			t.Errorf("%s#%d:\n got %+v\nslow %+v", name, at, got, slow)
		}
		if stream && live != res.Message.Text() {
			t.Errorf("%s#%d: watched %q, then %q", name, at, live, res.Message.Text())
		}
		b, err := grid.EncodeMessage(res.Message)
		if err != nil {
			t.Errorf("%s#%d: encoding: %v", name, at, err)
		}
		back, err := grid.DecodeMessage(b)
		again, _ := grid.EncodeMessage(back)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s#%d: %s came back as %s (%v)", name, at, b, again, err)
		}
		if len(in.Response.Body) < 20_000 && n%5 == 0 {
			inPieces++
			s := serve(in)
			s.cut = 1 + n%7
			again, _, err := read(t, s, stream)
			if err != nil || !reflect.DeepEqual(again.Message, res.Message) || again.FinishReason != res.FinishReason {
				t.Errorf("%s#%d: pieces of %d bytes read as %+v (%v)", name, at, s.cut, again, err)
			}
		}
	})
	if n < 2000 || inPieces < 200 {
		t.Errorf("only %d recordings, %d in pieces", n, inPieces)
	}
}

// said is what an answer means.
type said struct {
	Text, Finish string
	Calls        []string
	Prompt, Out  int64
}

func meaning(res *grid.Response) said {
	s := said{Text: res.Message.Text(), Finish: res.FinishReason}
	for _, c := range res.Message.ToolCalls {
		id := c.ID
		if strings.HasPrefix(id, "call_") && len(id) > 14 && !strings.Contains(id, "REDACTED") && len(id) < 20 {
			id = "" // perhaps made here
		}
		s.Calls = append(s.Calls, id+"|"+c.Name+"|"+c.Arguments)
	}
	if res.Usage != nil {
		s.Prompt, s.Out = res.Usage.PromptTokens, res.Usage.CompletionTokens
	}
	return s
}

// readSlowly is the oracle: encoding/json into maps, and the plainest rules.
func readSlowly(body string) said {
	type call struct {
		key           any
		id, name, arg string
	}
	var out said
	var calls []*call
	var text strings.Builder
	takeObject := func(obj map[string]any) {
		usage, _ := obj["usage"].(map[string]any)
		if x, ok := obj["x_groq"].(map[string]any); ok && usage == nil {
			usage, _ = x["usage"].(map[string]any)
		}
		if usage != nil {
			p, _ := usage["prompt_tokens"].(float64)
			c, _ := usage["completion_tokens"].(float64)
			out.Prompt, out.Out = int64(p), int64(c)
		}
		choices, _ := obj["choices"].([]any)
		for _, c := range choices {
			choice := c.(map[string]any)
			if i, _ := choice["index"].(float64); i != 0 {
				continue
			}
			if f, _ := choice["finish_reason"].(string); f != "" {
				out.Finish = f
			}
			message, whole := choice["message"].(map[string]any)
			if delta, ok := choice["delta"].(map[string]any); ok && isStream(body) {
				message, whole = delta, false
			}
			switch content := message["content"].(type) {
			case string:
				text.WriteString(content)
			case []any:
				for _, p := range content {
					if part := p.(map[string]any); part["type"] == "text" {
						text.WriteString(part["text"].(string))
					}
				}
			case map[string]any:
				b, _ := json.Marshal(content)
				text.Write(b)
			}
			var list []any
			list, _ = message["tool_calls"].([]any)
			if f, _ := message["function_call"].(map[string]any); len(f) > 0 && f["name"] != "" {
				list = append(list, map[string]any{"index": "legacy", "function": f})
			}
			for _, item := range list {
				tc := item.(map[string]any)
				f, _ := tc["function"].(map[string]any)
				if f == nil {
					f, _ = tc["custom"].(map[string]any)
					if f != nil {
						f["arguments"] = f["input"]
					}
				}
				id, _ := tc["id"].(string)
				name, _ := f["name"].(string)
				arg, isText := f["arguments"].(string)
				if !isText && f["arguments"] != nil {
					b, _ := json.Marshal(f["arguments"])
					arg = string(b)
				}
				key := tc["index"]
				if key == nil {
					key = id
				}
				var to *call
				for _, c := range calls {
					if !whole && c.key == key && (id == "" || c.id == id || c.id == "") {
						to = c
					}
				}
				if to == nil {
					to = &call{key: key}
					calls = append(calls, to)
				}
				if to.id == "" {
					to.id = id
				}
				if to.name != name {
					to.name += name
				}
				to.arg += arg
			}
		}
	}
	if !isStream(body) {
		var obj map[string]any
		if json.Unmarshal([]byte(body), &obj) == nil {
			takeObject(obj)
		}
	} else {
		for line := range strings.Lines(strings.ReplaceAll(body, "\r", "\n")) {
			data, ok := strings.CutPrefix(strings.TrimSpace(line), "data:")
			var obj map[string]any
			if ok && json.Unmarshal([]byte(data), &obj) == nil {
				takeObject(obj)
			}
		}
	}
	out.Text = text.String()
	for _, c := range calls {
		id := c.id
		if strings.HasPrefix(id, "call_") && len(id) > 14 && !strings.Contains(id, "REDACTED") && len(id) < 20 {
			id = ""
		}
		out.Calls = append(out.Calls, id+"|"+c.name+"|"+c.arg)
	}
	return out
}

type quirk struct {
	ID       string      `json:"id"`
	Expect   string      `json:"expect"`
	Response interaction `json:"-"` // the same as Raw
	Raw      struct {
		Status  int               `json:"status"`
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body"`
	} `json:"response"`
}

func quirks(t testing.TB) []quirk {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(recordedDir(t, "quirks"), "[0-9]*.json"))
	if err != nil || len(files) < 100 {
		t.Fatalf("%d quirks (%v)", len(files), err)
	}
	var all []quirk
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var q quirk
		if err := json.Unmarshal(b, &q); err != nil {
			t.Fatal(err)
		}
		q.Response.Response = q.Raw
		all = append(all, q)
	}
	return all
}

func TestQuirksAreReadAsMeant(t *testing.T) {
	// Errors by class; the quirks that are not named are answers.
	errs := map[string]grid.Class{
		"015": grid.ClassMalformed, "016": grid.ClassCaller, "017": grid.ClassContent, "055": grid.ClassMalformed,
		"056": grid.ClassCaller, "057": grid.ClassAuth, "058": grid.ClassNotFound, "059": grid.ClassAuth,
		"060": grid.ClassTooLong, "061": grid.ClassThrottled, "062": grid.ClassAuth, "063": grid.ClassServer,
		"093": grid.ClassMalformed, "094": grid.ClassGateway, "095": grid.ClassServer, "096": grid.ClassServer,
		"097": grid.ClassMalformed, "098": grid.ClassCut, "099": grid.ClassCut,
	}
	// Where the plain rules of the slow reader are not enough: calls, or the text.
	calls := map[string][]string{
		"074": {`|read_file|{"path":"p0"}`, `|write_file|{"path":"p1"}`, `|read_file|{"path":"p2"}`},
		"075": {`call_a|f|{"x":1}`},
		"080": {`call_1|f|{"x": 1}`},
		"107": {`call_1|f|{"x":1}`, `|f|{"x":2}`},
	}
	texts := map[string]string{"025": `{"name":"Emily Wilson","age":32}`}
	for _, q := range quirks(t) {
		t.Run(q.ID, func(t *testing.T) {
			stream := isStream(q.Raw.Body)
			res, _, err := read(t, serve(q.Response), stream)
			var e *grid.Error
			if err != nil && !errors.As(err, &e) {
				t.Fatalf("untyped: %v", err)
			}
			want, wantErr := errs[q.ID[:3]]
			switch {
			case wantErr:
				if e == nil || e.Class != want {
					t.Fatalf("want %s, got %v", want, err)
				}
			case err != nil:
				t.Fatalf("%v (%s)", err, q.Expect)
			default:
				got, slow := meaning(res), readSlowly(q.Raw.Body)
				if c, ok := calls[q.ID[:3]]; ok {
					slow.Calls = c
				}
				if text, ok := texts[q.ID[:3]]; ok {
					slow.Text = text
				}
				if !reflect.DeepEqual(got, slow) {
					t.Errorf("\n got %+v\nslow %+v (%s)", got, slow, q.Expect)
				}
			}
		})
	}
}
