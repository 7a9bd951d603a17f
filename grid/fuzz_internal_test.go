package grid

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

type recordedAnswer struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

// recordedAnswers calls each for the recorded answers that are short enough to be seeds
// of a fuzz target. Without recordings there are none: the seeds in the code remain.
func recordedAnswers(f *testing.F, each func(recordedAnswer)) {
	f.Helper()
	dir := os.Getenv("GRIDLOOP_TESTDATA")
	if dir == "" {
		return
	}
	n := 0
	for _, sub := range []string{"recordings", "quirks"} {
		err := filepath.WalkDir(filepath.Join(dir, sub), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			type interaction struct {
				Response recordedAnswer `json:"response"`
			}
			var all []interaction
			if json.Unmarshal(b, &all) != nil {
				all = make([]interaction, 1)
				if err := json.Unmarshal(b, &all[0]); err != nil {
					return err
				}
			}
			for _, in := range all {
				if in.Response.Status != 0 && len(in.Response.Body) < 16<<10 {
					each(in.Response)
					n++
				}
			}
			return nil
		})
		if err != nil {
			f.Fatal(err)
		}
	}
	if n < 1000 {
		f.Errorf("only %d recorded answers", n)
	}
}

// FuzzEventsAreLinesOfData compares the scanner with splitting at once.
func FuzzEventsAreLinesOfData(f *testing.F) {
	for _, s := range []string{"data: a\r\rdata:b\n\n", "\xef\xbb\xbfdata: a", "event: error\ndata: x\r\n\r\ndata: y", ": c\n{\"a\":1}\ndata\n", "data: [DONE]\n\n", "data:\r \n\r"} {
		f.Add([]byte(s), uint8(3))
	}
	recordedAnswers(f, func(r recordedAnswer) {
		if strings.Contains(r.Body, "data:") {
			f.Add([]byte(r.Body), uint8(len(r.Body)))
		}
	})
	type line struct{ event, data string }
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		var want []line
		event := ""
		text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.TrimPrefix(string(b), "\xef\xbb\xbf"))
		for l := range strings.SplitSeq(text, "\n") {
			name, value, _ := strings.Cut(l, ":")
			value = string(bytes.TrimSpace([]byte(value)))
			switch {
			case l == "":
				event = ""
			case l[0] == '{':
				want = append(want, line{event, l})
			case name == "data" && value != "":
				want = append(want, line{event, value})
			case name == "event":
				event = value
			}
		}
		var got []line
		e := events{emit: func(event string, data []byte) (bool, error) {
			got = append(got, line{event, string(data)})
			return true, nil
		}}
		n := int(size)
		for rest := b; len(rest) > 0; {
			n = n*5%11 + 1
			piece := bytes.Clone(rest[:min(n, len(rest))])
			if err := e.feed(piece); err != nil {
				t.Fatal(err)
			}
			for i := range piece {
				piece[i] = 'Z' // a piece is only valid while it is fed
			}
			rest = rest[len(piece):]
		}
		if err := e.end(); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q\n got %q\nwant %q", b, got, want)
		}
	})
}

func readAll(b []byte, cut func() int) (said [3]string, err error) {
	a := answer{limit: 1 << 20}
	a.live, a.deliver = true, func(d Delta) { said[1] += d.Text; said[2] += d.Reasoning }
	for len(b) > 0 && err == nil && !a.stop() {
		n := min(max(cut(), 1), len(b))
		// A piece is only valid while it is fed.
		piece := append([]byte(nil), b[:n]...)
		err = a.feed(piece)
		for i := range piece {
			piece[i] = 'Z'
		}
		b = b[n:]
	}
	if err == nil {
		err = a.conclude(false)
	}
	m, encodeErr := EncodeMessage(a.message())
	if encodeErr != nil {
		panic(encodeErr)
	}
	said[0] = string(m) + a.assembly.finish + string(a.assembly.usage) + a.id + a.model
	return said, err
}

// The same bytes, cut anywhere, are the same answer.
func FuzzAnswerCutAnywhere(f *testing.F) {
	for _, s := range []string{
		"data: {\"id\":\"x\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"h\\u00e9\"}}]}\r\n\r\n: c\ndata: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1}}\n\ndata: [DONE]\n\n",
		"\xef\xbb\xbf {\"choices\":[{\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"}],\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1}}}]}}]}",
		"data: {\"choices\":\ndata: [{\"delta\":{\"content\":\"joined\"}}]}\rdata:[DONE]\r\r",
		"event: error\ndata: {\"error\":{\"message\":\"m\",\"code\":500}}\n\n",
		"data: {\"choices\":[{\"delta\":{\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",\"text\":\"t\"}]},{\"type\":\"text\",\"text\":\"a\"}],\"reasoning\":\"r\",\"reasoning_details\":[{\"a\":1}]},\"finish_reason\":\"stop\"}]}",
		"<html>", "data: ping\n\n", "",
	} {
		f.Add([]byte(s), uint8(3))
	}
	recordedAnswers(f, func(r recordedAnswer) { f.Add([]byte(r.Body), uint8(len(r.Body))) })
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		whole, err := readAll(b, func() int { return len(b) })
		n := int(size)
		pieces, err2 := readAll(b, func() int { n = n*5%11 + 1; return n })
		if whole != pieces || (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Fatalf("%q\nwhole  %q %v\npieces %q %v", b, whole, err, pieces, err2)
		}
	})
}

func FuzzFault(f *testing.F) {
	for _, s := range []string{`{"errors":{"detail":"x"}}`, `{"error":{"error":{"error":"deep"}}}`, "<p>", `{"detail":[{"msg":"x"}]}`, "Bearer token=a key=b sk-c", `[[[[[[[[1]]]]]]]]`} {
		f.Add([]byte(s))
	}
	recordedAnswers(f, func(r recordedAnswer) {
		if r.Status != 200 {
			f.Add([]byte(r.Body))
		}
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		got := readFault(b)
		for _, s := range []string{got.message, got.code, got.typ, got.param} {
			if len(s) > maxErrorText+len("...")+len(hidden) || !utf8.ValidString(s) || strings.ContainsAny(s, "\n\r\x00\x1b") {
				t.Fatalf("%q", s)
			}
		}
		_ = classify(400, 1, got, true)
		_ = classifyInner(got)
	})
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("1.5", "Sun, 01 Nov 2026 12:00:30 GMT")
	f.Add("Sun, 01 Nov 2026 12:00:30 GMT", "")
	recordedAnswers(f, func(r recordedAnswer) {
		for name, v := range r.Headers {
			if strings.Contains(strings.ToLower(name), "retry-after") || strings.Contains(strings.ToLower(name), "ratelimit-reset") {
				f.Add(v, r.Headers["date"])
			}
		}
	})
	f.Fuzz(func(t *testing.T, v, date string) {
		for _, name := range []string{"Retry-After", "Retry-After-Ms", "X-Ratelimit-Reset"} {
			h := http.Header{name: {v}, "Date": {date}}
			if d, ok := retryAfter(h, time.Now()); d < 0 || !ok && d != 0 {
				t.Fatalf("%s %q: %v", name, v, d)
			}
		}
	})
}
