package gridtest

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// interaction is one recorded exchange with a real provider.
type interaction struct {
	Request  struct{ Body string }
	Response struct {
		Status int
		Body   string
	}
}

func eachRecording(t *testing.T, use func(path string, i interaction)) {
	t.Helper()
	dir := os.Getenv("GRIDLOOP_TESTDATA")
	if dir == "" {
		if os.Getenv("GRIDLOOP_REQUIRE") != "" {
			t.Fatal("GRIDLOOP_TESTDATA is not set")
		}
		t.Skip("GRIDLOOP_TESTDATA is not set")
	}
	err := filepath.WalkDir(filepath.Join(dir, "recordings"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var all []interaction
		if json.Unmarshal(b, &all) != nil {
			return nil // an index
		}
		for _, i := range all {
			use(path, i)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRecordedRequestsAreDecoded(t *testing.T) {
	var bodies, turns, invalid int
	eachRecording(t, func(path string, i interaction) {
		var asked struct{ Messages []json.RawMessage }
		if json.Unmarshal([]byte(i.Request.Body), &asked) != nil || len(asked.Messages) == 0 {
			return
		}
		bodies++
		turn, _, no := decodeTurn([]byte(i.Request.Body))
		if no != nil || len(turn.Messages) != len(asked.Messages) {
			t.Errorf("%s: %v: %d of %d messages", path, no, len(turn.Messages), len(asked.Messages))
			return
		}
		turns += turn.N
		if i.Response.Status < 400 && checkTranscript(turn.Messages) != nil {
			t.Errorf("%s: a history that its provider took: %v", path, checkTranscript(turn.Messages))
			invalid++
		}
	})
	t.Logf("%d requests, %d turns, %d histories that would be refused", bodies, turns, invalid)
	if bodies < 1000 || turns < 500 {
		t.Errorf("%d requests with %d turns: the recordings are not where they should be", bodies, turns)
	}
}

func TestRecordedAnswersAreSentAsTheyAre(t *testing.T) {
	m := New(Config{Credits: 1 << 62})
	defer m.Close()
	client := &http.Client{Transport: m.Transport()}
	sent := 0
	eachRecording(t, func(path string, i interaction) {
		raw := RawReply{Status: i.Response.Status, Body: []byte(i.Response.Body)}
		if raw.Status < 200 || raw.Status > 599 || raw.Status/100 == 3 {
			return
		}
		sent++
		m.Model(func(Turn) Reply { return Reply{Raw: &raw} })
		before := m.Bill("")
		req, err := http.NewRequest(http.MethodPost, m.BaseURL()+"/chat/completions", strings.NewReader(`{"model":"text-max","messages":[{"role":"user","content":"x"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+m.Key())
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.Equal(body, raw.Body) || resp.StatusCode != raw.Status {
			t.Errorf("%s: %v: status %d, %d of %d bytes", path, err, resp.StatusCode, len(body), len(raw.Body))
		}
		prompt, completion, ok := raw.usage()
		if cost := (prompt + completion) * 2500; ok && raw.Status < 400 && m.Bill("")-before != cost {
			t.Errorf("%s: billed %d for %d tokens", path, m.Bill("")-before, prompt+completion)
		}
	})
	if sent < 1000 {
		t.Errorf("%d answers: the recordings are not where they should be", sent)
	}
	m.AssertDone(t)
}
