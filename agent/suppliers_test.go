package agent_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/budget"
)

// Ids are made anew in each recording of the same request.
var recordedID = regexp.MustCompile(`"(id|tool_call_id)":"[^"]*"`)

// TestSuppliersCountTheSameRequestAlike measures the assumption of incremental estimates:
// requests that were recorded with several suppliers, each count as the bound of each other.
// Those who write instructions of their own into each prompt are beyond it.
func TestSuppliersCountTheSameRequestAlike(t *testing.T) {
	from := "fantasy" // has most of the pairs
	if os.Getenv("GRIDLOOP_LONG") != "" {
		from = "*"
	}
	files, err := filepath.Glob(filepath.Join(recordings(t), from, "*", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	requests := map[string]map[string][]interaction{} // by messages and tools, by supplier and model
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var all []interaction
		if json.Unmarshal(data, &all) != nil {
			continue
		}
		for _, x := range all {
			var req struct {
				Model           string
				Messages, Tools json.RawMessage
			}
			if json.Unmarshal([]byte(x.Request.Body), &req) != nil || len(req.Messages) == 0 {
				continue
			}
			if strings.Contains(x.Request.Body, "image") || strings.Contains(x.Request.Body, "file") || strings.Contains(x.Request.Body, "audio") {
				continue
			}
			var text bytes.Buffer
			_ = json.Compact(&text, req.Messages)
			_ = json.Compact(&text, req.Tools)
			key := recordedID.ReplaceAllString(text.String(), "")
			if requests[key] == nil {
				requests[key] = map[string][]interaction{}
			}
			by := filepath.Base(filepath.Dir(file)) + " " + req.Model
			requests[key][by] = append(requests[key][by], x)
		}
	}
	e, err := budget.NewEstimator(budget.EstimateIncremental)
	if err != nil {
		t.Fatal(err)
	}
	pairs, broken := 0, 0
	for _, suppliers := range requests {
		if len(suppliers) < 2 {
			continue
		}
		counts := map[string]budget.Prompt{}
		for by, all := range suppliers {
			p := budget.Prompt{Instrument: "recorded", Bytes: 1 << 30, Template: 512}
			for _, x := range all {
				n, _ := recordedUsage(x.Response.Body)
				p.Counted, p.CountedBytes = max(p.Counted, n), max(p.CountedBytes, int64(len(x.Request.Body)))
			}
			if p.Counted > 0 {
				counts[by] = p
			}
		}
		for a, first := range counts {
			for b, next := range counts {
				if a == b {
					continue
				}
				pairs++
				if next.Counted > e.Prompt(first, noon) {
					broken++
				}
			}
		}
	}
	t.Logf("of %d pairs of suppliers that counted the same request, %d were further apart than is assumed", pairs, broken)
	if pairs < 500 || broken*100 > 3*pairs {
		t.Errorf("%d of %d pairs were further apart than is assumed", broken, pairs)
	}
}
