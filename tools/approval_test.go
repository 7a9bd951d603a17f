package tools

import (
	"context"
	"encoding/json"
	"runtime"
	"testing"
)

func TestApproval(t *testing.T) {
	large := func(_ context.Context, args json.RawMessage) (bool, error) {
		var in refund
		err := json.Unmarshal(args, &in)
		return in.Cents > 1000, err
	}
	no := func(context.Context, json.RawMessage) (bool, error) { return false, nil }
	for _, row := range []struct {
		name   string
		opts   []Option
		args   string
		needed bool
		fails  bool
	}{
		{"by default none", nil, `{}`, false, false},
		{"always", []Option{NeedsApproval()}, `{}`, true, false},
		{"by arguments, small", []Option{NeedsApprovalFunc(large)}, `{"cents":1}`, false, false},
		{"by arguments, large", []Option{NeedsApprovalFunc(large)}, `{"cents":1001}`, true, false},
		{"without arguments", []Option{NeedsApprovalFunc(large)}, ``, false, false},
		{"always wins", []Option{NeedsApproval(), NeedsApprovalFunc(no)}, `{}`, true, false},
		{"an error asks", []Option{NeedsApprovalFunc(large)}, `{`, true, true},
		{"a panic asks", []Option{NeedsApprovalFunc(func(context.Context, json.RawMessage) (bool, error) { panic("boom") })}, `{}`, true, true},
		{"an ended goroutine asks", []Option{NeedsApprovalFunc(func(context.Context, json.RawMessage) (bool, error) { runtime.Goexit(); return false, nil })}, `{}`, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			needed, err := refundTool(row.opts...).Approval(t.Context(), json.RawMessage(row.args))
			if needed != row.needed || (err != nil) != row.fails {
				t.Errorf("needed %v, error %v", needed, err)
			}
			if asks := refundTool(row.opts...).AsksApproval(); asks != (row.opts != nil) {
				t.Errorf("declared with %d options, AsksApproval says %v", len(row.opts), asks)
			}
		})
	}
	if needed, err := (Tool{}).Approval(t.Context(), nil); !needed || err == nil {
		t.Error("a tool that is none needs no approval")
	}
	if (Tool{}).AsksApproval() {
		t.Error("a tool that is none was declared to ask")
	}
}
