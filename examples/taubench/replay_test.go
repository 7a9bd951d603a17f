package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/gridloop/gridloop/examples/internal/tautest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRecordedConversationsAreReplayedEqual(t *testing.T) {
	data := tautest.Dir(t)
	for _, row := range []struct {
		name string
		o    options
	}{
		{"one by one", options{parallel: 1}},
		{"streamed, in parallel, under faults", options{stream: true, parallel: 8, faults: 0.2}},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.o.data, row.o.capUSD = data, "1.00"
			var out strings.Builder
			if err := run(t.Context(), row.o, &out); err != nil {
				t.Errorf("%v\n%s", err, &out)
			}
			t.Log(out.String())
		})
	}
}

func TestALowCapEndsConversationsAndHolds(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), options{data: tautest.Dir(t), parallel: 4, capUSD: "0.03"}, &out)
	if !errors.Is(err, errDiffers) {
		t.Errorf("the error is %v, want %v", err, errDiffers)
	}
	if said := out.String(); !strings.Contains(said, "ended by a limit") || strings.Contains(said, "more than its cap") {
		t.Errorf("the output is\n%s", said)
	}
}

func TestAllWrongOptionsAreNamedAtOnce(t *testing.T) {
	err := run(t.Context(), options{parallel: 0, faults: 2, capUSD: "-1"}, nil)
	if err == nil {
		t.Fatal("there is no error")
	}
	for _, name := range []string{"-data", "-parallel", "-faults", "-cap"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}

// A small benchmark of one conversation, so that the program is tested without
// the real one.
const (
	smallFlights      = `{"HAT001": {"flight_number": "HAT001", "origin": "SFO", "destination": "JFK", "dates": {}}}`
	smallReservations = `{"R1": {"reservation_id": "R1", "user_id": "ann", "payment_history": [{"payment_id": "card", "amount": 7}]}}`
	smallUsers        = `{"ann": {"name": "Ann", "payment_methods": {}, "reservations": ["R1"]}}`
	smallPolicy       = "You are the airline's desk."
)

// small writes the benchmark; change may spoil the conversation.
func small(t *testing.T, change func(conversation map[string]any)) string {
	t.Helper()
	call := func(id, name, args string) map[string]any {
		return map[string]any{"role": "assistant", "content": nil, "tool_calls": []any{
			map[string]any{"id": id, "type": "function", "function": map[string]any{"name": name, "arguments": args}}}}
	}
	say := func(role, text string) map[string]any { return map[string]any{"role": role, "content": text} }
	result := func(id, name, text string) map[string]any {
		return map[string]any{"role": "tool", "tool_call_id": id, "name": name, "content": text}
	}
	c := map[string]any{
		"task_id": 1, "trial": 0, "model": "nobody", "recorded_reward": 1,
		"task": map[string]any{
			"outputs": []string{"1200"},
			"actions": []any{map[string]any{"name": "cancel_reservation", "kwargs": map[string]any{"reservation_id": "R1"}}},
		},
		"messages": []any{
			say("system", smallPolicy),
			say("user", "Cancel R1, please."),
			call("c", "think", `{"thought":"R1"}`),
			result("c", "think", ""),
			say("assistant", "Is it R1 for $1,200? – yes or no"),
			say("user", "Yes."),
			call("c", "cancel_reservation", `{"reservation_id": "R1"}`),
			result("c", "cancel_reservation", `{"reservation_id": "R1", "user_id": "ann", "payment_history": [{"payment_id": "card", "amount": 7}, {"payment_id": "card", "amount": -7}], "status": "cancelled"}`),
			say("assistant", "Done."),
			say("user", "Thanks ###STOP###"),
		},
	}
	if change != nil {
		change(c)
	}
	line, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	for name, text := range map[string]string{
		"db/flights.json": smallFlights, "db/reservations.json": smallReservations, "db/users.json": smallUsers,
		"any/trajectories_nobody.jsonl": string(line) + "\n",
	} {
		file := filepath.Join(data, "airline", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

func messages(c map[string]any) []any { return c["messages"].([]any) }

func TestASmallConversationIsReplayed(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(map[string]any)
		want   error
		said   string
	}{
		{"as recorded", nil, nil, "All equal."},
		{"another observation", func(c map[string]any) { messages(c)[7].(map[string]any)["content"] = "{}" }, errDiffers, "message 7 differs"},
		{"another reward", func(c map[string]any) { c["recorded_reward"] = 0 }, errDiffers, "rewards                                 0      1"},
		{"another final state", func(c map[string]any) {
			c["replay"] = map[string]any{"final": map[string]any{"norm_hash": "x", "python_hash": "y"}}
		}, errDiffers, "final states, sorted JSON               0      1"},
		{"another hash by the recorder", func(c map[string]any) {
			c["recorded_reward_info"] = map[string]any{"info": map[string]any{"gt_data_hash": "x"}}
		}, errDiffers, "recorder's hash        0      1"},
		{"what the customer should hear is missing", func(c map[string]any) {
			c["task"].(map[string]any)["outputs"] = []string{"1300"}
			c["recorded_reward"] = 0
		}, nil, "reward 1 in 0 conversations"},
		{"cut off behind a tool", func(c map[string]any) {
			c["messages"] = messages(c)[:8]
			c["recorded_reward"] = 0
		}, nil, "1 recordings were cut off"},
		{"handed to a person", func(c map[string]any) {
			all := messages(c)[:6]
			all = append(all, map[string]any{"role": "assistant", "content": nil, "tool_calls": []any{map[string]any{"id": "t", "type": "function",
				"function": map[string]any{"name": "transfer_to_human_agents", "arguments": `{"summary":"R1"}`}}}},
				map[string]any{"role": "tool", "tool_call_id": "t", "name": "transfer_to_human_agents", "content": "Transfer successful"})
			c["messages"], c["recorded_reward"] = all, 0
		}, nil, "All equal."},
	} {
		t.Run(row.name, func(t *testing.T) {
			data := small(t, row.change)
			for _, o := range []options{{parallel: 1}, {parallel: 2, stream: true, faults: 0.9, seed: 3}} {
				o.data, o.capUSD = data, "0.50"
				var out strings.Builder
				if err := run(t.Context(), o, &out); !errors.Is(err, row.want) {
					t.Errorf("the error is %v, want %v", err, row.want)
				}
				if !strings.Contains(out.String(), row.said) {
					t.Errorf("%q is missing in\n%s", row.said, &out)
				}
			}
		})
	}
}

func TestTheRunsAreWrittenAsAPage(t *testing.T) {
	page := filepath.Join(t.TempDir(), "runs.html")
	var out strings.Builder
	if err := run(t.Context(), options{data: small(t, nil), parallel: 1, capUSD: "1", trace: page}, &out); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(text), "cancel_reservation") {
		t.Errorf("the page does not show the run (%v)", err)
	}
}

func TestACancelledReplayEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out strings.Builder
	if err := run(ctx, options{data: small(t, nil), parallel: 1, capUSD: "1"}, &out); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v, want %v", err, context.Canceled)
	}
}
