// Package desk is what the airline's and the shop's tools have in common: how a
// func over a database becomes a tool, and the three tools that touch none.
package desk

import (
	"context"
	"errors"
	"fmt"

	"github.com/gridloop/gridloop/examples/internal/pycalc"
	"github.com/gridloop/gridloop/examples/internal/pyjson"
	"github.com/gridloop/gridloop/tools"
)

// A refusal is the desk's own no. The model reads it as the result of the call.
type refusal string

func (r refusal) Error() string { return string(r) }

// Refuse is a no in the words that the model reads behind "Error: ".
func Refuse(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

// On makes the func of a tool from one that works on a database. find says which
// database the call is about; it should look at tools.CallFrom, since what stands
// there comes from Go code and never from a model.
//
// A refusal is a result: the benchmark's tools answer "Error: ..." as ordinary
// text. Any other error is one of ours, and reaches the model as the failure of a
// tool. A string goes to the model as it is, everything else as json.dumps.
func On[DB, In any](find func(context.Context) (DB, error), do func(DB, In) (pyjson.Value, error)) func(context.Context, In) (string, error) {
	return func(ctx context.Context, in In) (string, error) {
		db, err := find(ctx)
		if err != nil {
			return "", err
		}
		out, err := do(db, in)
		if no, ok := errors.AsType[refusal](err); ok {
			return "Error: " + string(no), nil
		}
		if err != nil {
			return "", err
		}
		if text, ok := out.(string); ok {
			return text, nil
		}
		return pyjson.Dumps(out), nil
	}
}

type calculateIn struct {
	Expression string `json:"expression" jsonschema_description:"numbers joined by + - * / and parentheses, such as 2 * (3.5 + 1)"`
}

// Calculate is the tool calculate.
func Calculate() tools.Tool {
	return tools.New("calculate", "Work out an arithmetic expression, rounded to cents.",
		func(_ context.Context, in calculateIn) (string, error) {
			sum, err := pycalc.Eval(in.Expression)
			if err != nil {
				return "Error: " + err.Error(), nil
			}
			return sum.String(), nil
		}, tools.ReadOnly())
}

type thinkIn struct {
	Thought string `json:"thought" jsonschema_description:"what to keep in mind"`
}

// Think is the tool think. Its result is empty: the thought itself stays in the
// history, where the next step reads it.
func Think() tools.Tool {
	return tools.New("think", "Write a thought down before acting. Looks nothing up and changes nothing.",
		func(context.Context, thinkIn) (string, error) { return "", nil }, tools.ReadOnly())
}

type transferIn struct {
	Summary string `json:"summary" jsonschema_description:"what the customer wants and what was done so far"`
}

// Transfer is the tool transfer_to_human_agents. It ends the run: from here on a
// person speaks.
func Transfer() tools.Tool {
	return tools.New("transfer_to_human_agents",
		"Hand the conversation over to a person: when the customer asks for one, or when no tool can do what is needed.",
		func(context.Context, transferIn) (string, error) { return "Transfer successful", nil }, tools.EndsRun())
}
