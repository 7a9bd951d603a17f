package grid

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func conformanceData(t *testing.T, file string, into any) {
	t.Helper()
	dir := os.Getenv("GRIDLOOP_TESTDATA")
	if dir == "" {
		if os.Getenv("GRIDLOOP_REQUIRE") != "" {
			t.Fatal("GRIDLOOP_TESTDATA is not set, and GRIDLOOP_REQUIRE wants it")
		}
		t.Skip("GRIDLOOP_TESTDATA is not set")
	}
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestEventStreamsAreReadAsTheStandardSays runs the cases of the web platform tests.
// What is emitted is lines: data of several lines is joined by who cannot make sense of
// the first. On purpose, empty data is passed over, white space around a line is
// dropped, and a last event counts without its empty line.
func TestEventStreamsAreReadAsTheStandardSays(t *testing.T) {
	var cases []struct {
		Name   string `json:"name"`
		Bytes  []byte `json:"bytes_base64"`
		Expect []struct {
			Event string `json:"event"`
			Data  string `json:"data"`
		} `json:"expect_events"`
	}
	conformanceData(t, filepath.Join("sse", "wpt_cases.json"), &cases)
	if len(cases) < 14 {
		t.Errorf("only %d cases", len(cases))
	}
	type line struct{ event, data string }
	for _, c := range cases {
		var want []line
		for _, e := range c.Expect {
			for data := range strings.SplitSeq(e.Data, "\n") {
				if data = strings.TrimSpace(data); data != "" {
					want = append(want, line{e.Event, data})
				}
			}
		}
		if c.Name == "data-before-final-empty-line" {
			want = append(want, line{"", "test2"})
		}
		for _, size := range []int{len(c.Bytes), 1, 2, 3} {
			var got []line
			e := events{emit: func(event string, data []byte) (bool, error) {
				got = append(got, line{event, string(data)})
				return true, nil
			}}
			for b := c.Bytes; len(b) > 0; b = b[min(size, len(b)):] {
				if err := e.feed(b[:min(size, len(b))]); err != nil {
					t.Errorf("%s: %v", c.Name, err)
				}
			}
			if err := e.end(); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s in pieces of %d: %q, want %q", c.Name, size, got, want)
			}
		}
	}
}

func TestJSONIsAcceptedAsTheSuiteSays(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name      string `json:"name"`
			Expect    string `json:"expect"`
			Text      string `json:"text"`
			Base64    []byte `json:"base64"`
			Generator string `json:"generator"`
		} `json:"cases"`
	}
	conformanceData(t, filepath.Join("jsontestsuite", "cases.json"), &suite)
	if len(suite.Cases) < 300 {
		t.Errorf("only %d cases", len(suite.Cases))
	}
	for _, c := range suite.Cases {
		b := []byte(c.Text)
		if c.Base64 != nil {
			b = c.Base64
		}
		if c.Generator != "" {
			b = []byte(strings.Repeat(`[{"":`, 50_000) + "\n") // the one text that the suite describes
		}
		got, std := validJSON(b), json.Valid(b)
		switch {
		case c.Expect == "accept" && !got, c.Expect == "reject" && got:
			t.Errorf("%s: accepted %v, the suite wants to %s it", c.Name, got, c.Expect)
		case got != std:
			t.Errorf("%s: accepted %v, encoding/json %v", c.Name, got, std)
		}
		// As a field of an answer, whole and as a chunk.
		body := append(append([]byte(`{"choices":[{"message":{"content":"a","x":`), b...), `}}]}`...)
		said, err := readAll(body, func() int { return len(body) })
		if (err == nil) != json.Valid(body) {
			t.Errorf("%s in an answer: %v", c.Name, err)
		}
		if err == nil && string(b) != "null" {
			var all struct {
				Choices []struct{ Message map[string]any }
			}
			var m map[string]any
			_ = json.Unmarshal(body, &all)
			text, _, _ := strings.Cut(said[0], "}\x00")
			_ = json.NewDecoder(strings.NewReader(text)).Decode(&m)
			if !reflect.DeepEqual(m["x"], all.Choices[0].Message["x"]) {
				t.Errorf("%s in an answer is %v", c.Name, m["x"])
			}
		}
		chunk := append(append([]byte(`data: {"choices":[{"delta":{"content":"a","x":`), b...), "},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"...)
		if _, err := readAll(chunk, func() int { return 7 }); err == nil && !json.Valid(b) && !strings.Contains(string(b), "\n") {
			t.Errorf("%s in a chunk is accepted", c.Name)
		}
	}
}
