package desk

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/examples/internal/pyjson"
	"github.com/gridloop/gridloop/tools"
)

type wish struct {
	Wish string `json:"wish"`
}

func grant(db string, in wish) (pyjson.Value, error) {
	switch in.Wish {
	case "refused":
		return nil, Refuse("no %s here", db)
	case "broken":
		return nil, errors.New("the disk is gone")
	case "text":
		return "as it is: é", nil
	}
	return (&pyjson.Object{}).With("é", pyjson.Float(1)), nil
}

func TestAnswersHaveTheFormThatTheModelReads(t *testing.T) {
	tool := tools.New("t", "A test.", On(func(context.Context) (string, error) { return "paper", nil }, grant))
	lost := tools.New("t", "A test.", On(func(context.Context) (string, error) { return "", errors.New("whose?") }, grant))
	for _, row := range []struct {
		name   string
		tool   tools.Tool
		wish   string
		status tools.Status
		want   string
	}{
		{"a document is json.dumps", tool, "document", tools.StatusOK, `{"\u00e9": 1.0}`},
		{"text is itself", tool, "text", tools.StatusOK, "as it is: é"},
		{"a refusal is a result", tool, "refused", tools.StatusOK, "Error: no paper here"},
		{"an error is a failure of the tool", tool, "broken", tools.StatusError, "the disk is gone"},
		{"a call without a database fails", lost, "text", tools.StatusError, "whose?"},
	} {
		t.Run(row.name, func(t *testing.T) {
			res := row.tool.Call(t.Context(), json.RawMessage(`{"wish":"`+row.wish+`"}`))
			if res.Status != row.status || !strings.Contains(res.Content, row.want) || res.Status == tools.StatusOK && res.Content != row.want {
				t.Errorf("%s: %q", res.Status, res.Content)
			}
		})
	}
}

func TestToolsWithoutADatabase(t *testing.T) {
	for _, row := range []struct {
		name string
		tool tools.Tool
		args string
		want string
		ends bool
	}{
		{"calculate", Calculate(), `{"expression":"(1 + 2) * 3"}`, "9.0", false},
		{"calculate refuses letters", Calculate(), `{"expression":"x"}`, "Error: invalid characters in expression", false},
		{"think says nothing", Think(), `{"thought":"hm"}`, "", false},
		{"transfer ends the run", Transfer(), `{"summary":"angry"}`, "Transfer successful", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			if res := row.tool.Call(t.Context(), json.RawMessage(row.args)); res.Status != tools.StatusOK || res.Content != row.want || res.Ends != row.ends {
				t.Errorf("%s: %q, ends %t", res.Status, res.Content, res.Ends)
			}
		})
	}
}
