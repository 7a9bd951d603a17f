package grid_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gridloop/gridloop/grid"
)

// flood is a body that begins with head and then repeats unit, up to size bytes. It
// remembers the largest heap seen while it was read.
type flood struct {
	head, unit string
	size, read int64
	heap       uint64
	next       int64
}

func (f *flood) Read(p []byte) (int, error) {
	if f.read >= f.size {
		return 0, io.EOF
	}
	if f.read >= f.next {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		f.heap = max(f.heap, m.HeapAlloc)
		f.next += 8 << 20
	}
	n := 0
	if f.read < int64(len(f.head)) {
		n = copy(p, f.head[f.read:])
	}
	for n < len(p) {
		at := (f.read + int64(n) - int64(len(f.head))) % int64(len(f.unit))
		n += copy(p[n:], f.unit[at:])
	}
	f.read += int64(n)
	return n, nil
}

func (f *flood) Close() error { return nil }

func TestGigabyteBodiesEndInAClearErrorAndLittleMemory(t *testing.T) {
	chunk := `data: {"choices":[{"delta":{"content":"abcdefghijklmnop"}}]}` + "\n\n"
	for _, row := range []struct {
		name       string
		status     int
		head, unit string
		limit      int64
		is         error
		atMost     int64 // bytes read
	}{
		{"JSON text, the default limit", 200, `{"choices":[{"message":{"content":"`, "aaaaaaaa", 0, grid.ErrTooLarge, 65 << 20},
		{"JSON text", 200, `{"choices":[{"message":{"content":"`, "aaaaaaaa", 4 << 20, grid.ErrTooLarge, 5 << 20},
		{"white space before JSON", 200, "", " \n", 4 << 20, grid.ErrTooLarge, 5 << 20},
		{"white space behind JSON", 200, answerJSON, " \n", 4 << 20, grid.ErrTooLarge, 5 << 20},
		{"one endless line", 200, "data: ", "aaaaaaaa", 4 << 20, grid.ErrTooLarge, 5 << 20},
		{"deltas without end", 200, "", chunk, 4 << 20, grid.ErrTooLarge, 5 << 20},
		{"comments without end", 200, "", ": keep-alive\n\n", 4 << 20, grid.ErrTooLarge, 5 << 20},
		{"data lines that never make sense", 200, "data: {", "data: " + strings.Repeat(" 1,", 20_000) + "\n", 64 << 20, grid.ErrMalformed, 4 << 20},
		{"calls without end", 200, "", `data: {"choices":[{"delta":{"tool_calls":[{"id":"","function":{"name":"f","arguments":"{}"}},{"id":"","function":{"name":"g"}}]}}]}` + "\n\n", 64 << 20, grid.ErrMalformed, 2 << 20},
		{"a page", 200, "<!doctype html>", "<p>wait</p>", 0, grid.ErrMalformed, 1 << 20},
		{"an error", 500, `{"error":{"message":"`, "no ", 0, nil, 1 << 20},
		{"an error of plain text", 429, "", "no ", 0, nil, 1 << 20},
	} {
		if grid.Raced && row.atMost > 64<<20 {
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			f := &flood{head: row.head, unit: row.unit, size: 1 << 30}
			c := client(t, "https://market.test", func(cfg *grid.Config) {
				cfg.MaxResponseBytes, cfg.Retry = row.limit, grid.Retry{Max: -1}
				cfg.HTTPClient = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: row.status, Header: http.Header{}, Body: f, ContentLength: 1 << 30, Request: r}, nil
				})}
			})
			runtime.GC()
			var before runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			_, err := c.Chat(t.Context(), ask("hi"))
			var e *grid.Error
			if !errors.As(err, &e) || row.is != nil && !errors.Is(err, row.is) || e.Status != row.status || len(err.Error()) > 800 {
				t.Errorf("%.900v", err)
			}
			if f.read > row.atMost {
				t.Errorf("%d bytes were read of it", f.read)
			}
			limit := row.limit
			if limit == 0 {
				limit = 64 << 20
			}
			if grown := int64(f.heap) - int64(before.HeapAlloc); grown > 4*limit {
				t.Errorf("the heap grew by %d MiB", grown>>20)
			}
			if d := time.Since(began); d > 20*time.Second {
				t.Errorf("it took %v", d)
			}
		})
	}
}

func TestFieldsWithoutEndAreRefused(t *testing.T) {
	var body strings.Builder
	body.WriteString(`{"choices":[{"message":{"content":"a"`)
	for i := range 100_000 {
		fmt.Fprintf(&body, `,"f%d":1`, i)
	}
	body.WriteString(`}}]}`)
	began := time.Now()
	if _, _, err := read(t, served200(body.String()), false); !errors.Is(err, grid.ErrMalformed) {
		t.Errorf("%v", err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestAPackedGigabyteIsBoundedWhereItIsUnpacked(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.Copy(z, &flood{head: `{"choices":[{"message":{"content":"`, unit: "aaaaaaaa", size: 4 << 20})
	_ = z.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	}))
	defer s.Close()
	c := client(t, s.URL, func(cfg *grid.Config) {
		cfg.MaxResponseBytes, cfg.Retry = 1<<20, grid.Retry{Max: -1}
		cfg.HTTPClient = s.Client() // net/http's own transport unpacks
		cfg.HTTPClient.Transport.(*http.Transport).DisableCompression = false
	})
	defer s.Client().CloseIdleConnections()
	if _, err := c.Chat(t.Context(), ask("hi")); !errors.Is(err, grid.ErrTooLarge) {
		t.Errorf("%v", err)
	}
}

// TestOddBodies reads what servers, proxies and load balancers send around answers.
func TestOddBodies(t *testing.T) {
	chunk := func(text string) string { return `data: {"choices":[{"delta":{"content":"` + text + `"}}]}` }
	end := `data: {"choices":[{"delta":{},"finish_reason":"stop"}]}`
	many := strings.Repeat(": keep-alive\n\n", 5000)
	for _, row := range []struct {
		name, body, text string
		is               error
	}{
		{"comments by the thousand", many + chunk("a") + "\n\n" + many + end + "\n\n" + many + "data: [DONE]\n\n", "a", nil},
		{"a byte order mark before events", "\xef\xbb\xbf" + chunk("a") + "\n\n" + end + "\n\n", "a", nil},
		{"a byte order mark before JSON", "\xef\xbb\xbf" + answerJSON, "", nil},
		{"lines that end in CR LF", chunk("a") + "\r\n\r\n" + end + "\r\n\r\n", "a", nil},
		{"lines that end in CR", chunk("a") + "\r\r" + end + "\r\r", "a", nil},
		{"one line end between events", chunk("a") + "\n" + chunk("b") + "\n" + end + "\n", "ab", nil},
		{"no line end at all", chunk("a") + "\n\n" + end, "a", nil},
		{"data without a space", strings.ReplaceAll(chunk("a")+"\n\n"+end, "data: ", "data:"), "a", nil},
		{"an object over several data lines", "data: {\"choices\":\ndata: [{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n", "a", nil},
		{"ids, retry times and unknown fields", "id: 1\nretry: 5\nfoo: bar\nnonsense\n" + chunk("a") + "\n\n" + end + "\n\n", "a", nil},
		{"words instead of data", "data: ping\n\n" + chunk("a") + "\n\n" + end + "\n\n", "a", nil},
		{"text after the end mark", chunk("a") + "\n\ndata: [DONE]\n\n" + chunk("b") + "\n\n", "a", nil},
		{"an end mark alone", "data: [DONE]\n\n", "", grid.ErrNoChoices},
		{"a finish reason and then nothing", chunk("a") + "\n\n" + end, "a", nil},
		{"neither finish reason nor end mark", chunk("a") + "\n\n", "", grid.ErrCut},
		{"a chunk that breaks off", chunk("a") + "\n\n" + `data: {"choices":[{"del`, "", grid.ErrCut},
		{"a chunk that is no JSON", chunk("a") + "\n\ndata: {oops}\n\n" + end + "\n\n", "", grid.ErrMalformed},
		{"nothing", "", "", grid.ErrMalformed},
		{"white space", " \r\n\t\n", "", grid.ErrMalformed},
		{"a page", "<html><body>502 Bad Gateway</body></html>", "", grid.ErrMalformed},
		{"words", "upstream connect error", "", grid.ErrMalformed},
		{"comments and then nothing", ": queued\n\n: queued\n\n", "", grid.ErrCut},
		{"JSON that breaks off", answerJSON[:len(answerJSON)-9], "", grid.ErrCut},
		{"JSON with something behind it", answerJSON + "x", "", grid.ErrMalformed},
		{"a list", "[1,2]", "", grid.ErrMalformed},
		{"a string", `"try later"`, "", grid.ErrMalformed},
		{"no choices", `{"id":"x","choices":[]}`, "", grid.ErrNoChoices},
		{"choices that are null", `{"id":"x","choices":null}`, "", grid.ErrNoChoices},
		{"no message in the choice", `{"choices":[{"index":0,"finish_reason":"stop"}]}`, "", nil},
	} {
		for _, size := range []int{0, 1} {
			s := served200(row.body)
			s.cut = size
			res, _, err := read(t, s, true)
			switch {
			case !errors.Is(err, row.is):
				t.Errorf("%s: %v, want %v", row.name, err, row.is)
			case err == nil && row.body != "\xef\xbb\xbf"+answerJSON && res.Message.Text() != row.text:
				t.Errorf("%s: %q", row.name, res.Message.Text())
			}
		}
	}
}

func TestACallInBothFormsIsTheOneThatSaysSomething(t *testing.T) {
	for name, call := range map[string]string{
		"the empty form first": `{"id":"a","custom":{"name":"","input":""},"type":"function","function":{"name":"f","arguments":"{}"}}`,
		"the empty form last":  `{"id":"a","type":"function","function":{"name":"f","arguments":"{}"},"custom":{"name":"","input":null}}`,
	} {
		res, _, err := read(t, served200(`{"choices":[{"message":{"role":"assistant","tool_calls":[`+call+`]},"finish_reason":"tool_calls"}]}`), false)
		if err != nil || len(res.Message.ToolCalls) != 1 || res.Message.ToolCalls[0].Name != "f" || res.Message.ToolCalls[0].Arguments != "{}" {
			t.Errorf("%s: %+v (%v)", name, res, err)
		}
	}
}

func TestErrorsAreFoundInEveryEnvelope(t *testing.T) {
	for name, body := range map[string]string{
		"the market's":           `{"errors":{"detail":"no luck"}}`,
		"its code and message":   `{"errors":{"detail":"bad_thing","message":"no luck"}}`,
		"a provider's":           `{"error":{"message":"no luck","type":"t","code":7}}`,
		"a text":                 `{"error":"no luck"}`,
		"a sign-in's":            `{"error":"invalid_grant","error_description":"no luck"}`,
		"a validator's list":     `{"detail":[{"loc":["body"],"msg":"no luck","type":"missing"}]}`,
		"fields at the top":      `{"object":"error","message":"no luck"}`,
		"an error in an error":   `{"error":{"error":{"message":"no luck"}}}`,
		"plain text":             "no luck\n",
		"with a byte order mark": "\xef\xbb\xbf" + `{"error":"no luck"}`,
	} {
		_, _, err := read(t, &served{status: 422, body: []byte(body)}, false)
		if e, ok := errors.AsType[*grid.Error](err); !ok || e.Message != "no luck" || e.Status != 422 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
