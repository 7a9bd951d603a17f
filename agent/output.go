package agent

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/gridloop/gridloop/tools"
)

// verifyOutput is the verifier of structured answers.
const verifyOutput = "output"

// responseFormat asks for a structured answer.
func responseFormat(s *tools.Schema) json.RawMessage {
	b, _ := json.Marshal(map[string]any{ // plain values always encode
		"type": "json_schema",
		"json_schema": map[string]any{
			"name": "answer", "schema": json.RawMessage(s.JSON()),
		},
	})
	return b
}

// verify judges a candidate answer: it must be JSON of the wanted form.
func (r *run) verify(ctx context.Context, op Op) *VerifyOut {
	if op.Name != verifyOutput || r.output == nil {
		return &VerifyOut{OK: true}
	}
	m, err := r.load(ctx, op.Verify.Candidate)
	if err != nil {
		return &VerifyOut{Problem: "The answer could not be read."}
	}
	err = r.output.Validate(unfenced(m.Text()))
	var misfit *tools.ArgumentsError
	switch {
	case err == nil:
		return &VerifyOut{OK: true}
	case errors.As(err, &misfit):
		return &VerifyOut{Problem: misfit.Explain(), Rules: brokenRules(misfit)}
	}
	return &VerifyOut{Problem: "The answer could not be checked.", Rules: err.Error()}
}

// brokenRules names the keywords of the schema that an answer breaks.
func brokenRules(e *tools.ArgumentsError) string {
	var rules []string
	for _, p := range e.Problems {
		if !slices.Contains(rules, p.Rule) {
			rules = append(rules, p.Rule)
		}
	}
	return strings.Join(rules, ", ")
}

// unfenced takes a code fence away that suppliers put around JSON.
func unfenced(s string) json.RawMessage {
	s = strings.TrimSpace(s)
	if body, ok := strings.CutPrefix(s, "```"); ok {
		if body, ok = strings.CutSuffix(body, "```"); ok {
			if i := strings.IndexByte(body, '\n'); i >= 0 && !strings.ContainsAny(body[:i], "{[\"") {
				body = body[i+1:]
			}
			s = strings.TrimSpace(body)
		}
	}
	return json.RawMessage(s)
}
