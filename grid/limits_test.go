package grid_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/grid"
)

// What an instrument surely refuses is not sent: a prompt beyond its input or context.
// The bound on an answer is lowered to what the instrument can, and its context leaves.
func TestLimitsOfTheCatalogueAreEnforcedBeforeSending(t *testing.T) {
	for _, row := range []struct {
		name     string
		in       grid.Instrument
		text     int // bytes
		ask      int // max_tokens
		sent     string
		max      int64 // of the error
		requests int
	}{
		{"no limits", grid.Instrument{}, 60_000, 500, `"max_tokens":500}`, 0, 1},
		{"within", grid.Instrument{MaxInput: 11_000, Context: 20_000, MaxOutput: 600}, 60_000, 500, `"max_tokens":500}`, 0, 1},
		{"beyond the input", grid.Instrument{MaxInput: 9_000, Context: 20_000}, 60_000, 500, "", 9_000, 0},
		{"beyond the context", grid.Instrument{Context: 9_000}, 60_000, 500, "", 9_000, 0},
		{"beyond the output", grid.Instrument{MaxOutput: 400}, 60, 500, `"max_tokens":400}`, 0, 1},
		{"more than the context leaves", grid.Instrument{Context: 1_000}, 5_400, 500, `"max_tokens":`, 0, 1},
		{"by its other name", grid.Instrument{TokenField: grid.TokenFieldCompletion}, 60, 0, `"max_completion_tokens":4096}`, 0, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.in.ID = "agent-prime"
			catalogue, err := grid.NewCatalogue(row.in)
			if err != nil {
				t.Fatal(err)
			}
			requests, sent := 0, ""
			c := client(t, "https://market.test", func(cfg *grid.Config) {
				cfg.Catalogue = catalogue
				cfg.HTTPClient = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
					b, _ := io.ReadAll(r.Body)
					requests, sent = requests+1, string(b)
					return served200(answerJSON).RoundTrip(r)
				})}
			})
			req := ask(strings.Repeat("x", row.text))
			req.MaxTokens = row.ask
			_, err = c.Chat(t.Context(), req)
			if requests != row.requests || !strings.Contains(sent, row.sent) {
				t.Errorf("%d requests, %v", requests, err)
			}
			long, tooLong := errors.AsType[*grid.TooLongError](err)
			if tooLong != (row.max > 0) || tooLong && (long.Max != row.max || !errors.Is(err, grid.ErrTooLong)) {
				t.Errorf("%v", err)
			}
			if row.name == "more than the context leaves" && (strings.Contains(sent, `"max_tokens":500}`) || strings.Contains(sent, `"max_tokens":1}`)) {
				t.Errorf("sent %s", sent[len(sent)-40:])
			}
		})
	}
}
