package tools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var anyObject = json.RawMessage(`{"type":"object"}`)

func echo(_ context.Context, args json.RawMessage) (any, error) { return args, nil }

type refund struct {
	Order string `json:"order" jsonschema:"pattern=^[0-9]+$"`
	Cents int64  `json:"cents" jsonschema:"minimum=1"`
	Note  string `json:"note,omitempty"`
}

func refundTool(opts ...Option) Tool {
	return New("refund", "Pay money back.", func(_ context.Context, in refund) (refund, error) { return in, nil }, opts...)
}

// wantCall calls and requires a status and pieces of the content.
func wantCall(t *testing.T, res Result, status Status, content ...string) {
	t.Helper()
	if res.Status != status {
		t.Errorf("status %s, want %s: %s", res.Status, status, res.Content)
	}
	for _, want := range content {
		if !strings.Contains(res.Content, want) {
			t.Errorf("content %q does not say %q", res.Content, want)
		}
	}
	if (res.Err == nil) != (res.Status == StatusOK) {
		t.Errorf("status %s with error %v", res.Status, res.Err)
	}
	if !utf8.ValidString(res.Content) {
		t.Errorf("content %q is no UTF-8", res.Content)
	}
}

func TestCallRunsTheFuncWithItsArguments(t *testing.T) {
	res := refundTool().Call(t.Context(), json.RawMessage(`{"order":"42","cents":9007199254740993}`))
	wantCall(t, res, StatusOK, `{"order":"42","cents":9007199254740993}`)
	if res.Ends || res.Abandoned {
		t.Error(res)
	}
	select {
	case <-res.Done:
	default:
		t.Error("Done is open")
	}
}

func TestNoArgumentsAreTheEmptyObject(t *testing.T) {
	type in struct {
		Page int `json:"page,omitempty"`
	}
	typed := New("list", "List.", func(_ context.Context, in in) (int, error) { return in.Page, nil })
	pointed := New("list", "List.", func(_ context.Context, in *in) (int, error) { return in.Page, nil })
	raw := Raw("list", "List.", anyObject, echo)
	for _, args := range []string{"", " \n", "null", " null\t", "{}", " { } "} {
		wantCall(t, typed.Call(t.Context(), json.RawMessage(args)), StatusOK, "0")
		wantCall(t, pointed.Call(t.Context(), json.RawMessage(args)), StatusOK, "0")
		wantCall(t, raw.Call(t.Context(), json.RawMessage(args)), StatusOK, "{}")
	}
	wantCall(t, typed.Call(t.Context(), nil), StatusOK, "0")
	wantCall(t, refundTool().Call(t.Context(), nil), StatusInvalidArguments, "/order", "/cents", "required")
}

func TestBadArgumentsNeverReachTheFunc(t *testing.T) {
	ran := false
	type in struct {
		Order string    `json:"order" jsonschema:"pattern=^[0-9]+$"`
		Cents int64     `json:"cents" jsonschema:"minimum=1"`
		Level string    `json:"level,omitempty" jsonschema:"enum=low,enum=high"`
		At    time.Time `json:"at,omitzero"`
		Blob  []byte    `json:"blob,omitempty"`
		Small int8      `json:"small,omitempty"`
		Items []address `json:"items,omitempty" jsonschema:"maxItems=2"`
		Limit *int      `json:"limit,omitempty" jsonschema:"nullable"`
		Code  hex       `json:"code,omitzero"`
		Any   any       `json:"any,omitempty"`
	}
	tool := New("refund", "Pay money back.", func(context.Context, in) (string, error) { ran = true; return "", nil })
	if err := tool.Err(); err != nil {
		t.Fatal(err)
	}
	with := func(more string) string { return `{"order":"42","cents":1,` + more + `}` }
	for _, row := range []struct {
		name, args string
		want       []string
	}{
		{"missing", `{"cents":1}`, []string{"/order: expected a value", "required"}},
		{"wrong type", `{"order":"42","cents":"twelve"}`, []string{`/cents: expected integer, found string "twelve"`}},
		{"number for a text", `{"order":42,"cents":1}`, []string{"/order: expected string, found number 42"}},
		{"pattern", `{"order":"x","cents":1}`, []string{"/order: expected text that matches ^[0-9]+$"}},
		{"minimum", `{"order":"1","cents":0}`, []string{"/cents: expected at least 1, found number 0"}},
		{"fraction", `{"order":"1","cents":1.5}`, []string{"/cents: expected integer"}},
		{"beyond 64 bits", `{"order":"1","cents":9223372036854775808}`, []string{"/cents: expected an integer of at most 64 bits", "9223372036854775808"}},
		{"beyond 8 bits", with(`"small":300`), []string{"/small: expected an integer of at most 8 bits"}},
		{"beyond any computing", `{"order":"1","cents":1e999999999}`, []string{"/cents: expected a number that fits"}},
		{"enum", with(`"level":"mid"`), []string{`/level: expected one of "low", "high", found string "mid"`}},
		{"unknown name", with(`"curency":"EUR"`), []string{"/curency", "leave it out"}},
		{"name in another case", `{"Order":"1","cents":1}`, []string{"/Order", "/order"}},
		{"time", with(`"at":"yesterday"`), []string{"/at: expected a date-time like"}},
		{"base64", with(`"blob":"?"`), []string{"/blob: expected text in base64"}},
		{"deep", with(`"items":[{"city":"a"},{"city":1}]`), []string{"/items/1/city: expected string, found number 1"}},
		{"too many items", with(`"items":[{"city":"a"},{"city":"b"},{"city":"c"}]`), []string{"/items: expected at most 2 items"}},
		{"null", with(`"level":null`), []string{"/level: expected string, found null"}},
		{"neither form", with(`"limit":"x"`), []string{`/limit: expected integer, or null, found string "x"`}},
		{"text that the Go type refuses", with(`"code":"00"`), []string{"only ff is known"}},
		{"list", `[]`, []string{"expected object, found array []"}},
		{"text", `"{}"`, []string{`expected object, found string "{}"`}},
		{"cut short", `{"order":"42","ce`, []string{"ends too early"}},
		{"brace missing", `{"order":"42","cents":1`, []string{"ends too early"}},
		{"code fence", "```json\n{}\n```", []string{"code fence"}},
		{"single quotes", `{'order':'42'}`, []string{"double quotes"}},
		{"bad escape", `{"order":"\d"}`, []string{"byte 12"}},
		{"several objects", `{"order":"1","cents":1}{"order":"2","cents":2}`, []string{"byte 24", "several calls"}},
		{"trailing comma", `{"order":"1",}`, []string{"byte 14"}},
		{"name twice", `{"order":"1","cents":1,"cents":1000}`, []string{`"cents" twice`}},
		{"name twice by escapes", `{"order":"1","cents":1,"\u0063ents":1000}`, []string{`"cents" twice`}},
		{"name twice deep down", with(`"any":[{"a":{"b":1,"b":2}}]`), []string{`/any/0/a: expected each name once`}},
		{"no UTF-8", "{\"order\":\"\xff\",\"cents\":1}", []string{"UTF-8"}},
		{"nested without end", `{"any":` + strings.Repeat("[", 3000) + strings.Repeat("]", 3000) + `}`, []string{"levels of nesting"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			res := tool.Call(t.Context(), json.RawMessage(row.args))
			wantCall(t, res, StatusInvalidArguments, append(row.want, "call refund again")...)
			if res.Done != nil {
				t.Error("Done of a call that did not run")
			}
			if _, ok := errors.AsType[*ArgumentsError](tool.Check(json.RawMessage(row.args))); !ok {
				t.Error("Check finds nothing")
			}
		})
	}
	if ran {
		t.Error("the func ran")
	}
}

func TestIntegersMayBeWrittenWithAFraction(t *testing.T) {
	tool := New("n", "Add.", func(_ context.Context, in struct {
		N    int64   `json:"n"`
		F    float64 `json:"f"`
		Text string  `json:"text"`
	}) (string, error) {
		return fmt.Sprint(in.N, in.F, in.Text), nil
	})
	wantCall(t, tool.Call(t.Context(), json.RawMessage(`{"text":"\"5.0\\","n":5.0,"f":2.50}`)), StatusOK, `5 2.5"5.0\`)
	wantCall(t, tool.Call(t.Context(), json.RawMessage(`{"n":-1.2e1,"f":1,"text":""}`)), StatusOK, `-12 1`)
}

func TestNumbersOfAnyTypeKeepAllDigits(t *testing.T) {
	tool := New("n", "Echo.", func(_ context.Context, in map[string]any) (any, error) { return in, nil })
	wantCall(t, tool.Call(t.Context(), json.RawMessage(`{"id":9007199254740993,"list":[18446744073709551615]}`)), StatusOK,
		`{"id":9007199254740993,"list":[18446744073709551615]}`)
}

func TestErrorTextOfArgumentsHoldsNoContent(t *testing.T) {
	err := refundTool().Check(json.RawMessage(`{"order":"secret","hidden":"secret","cents":1}`))
	if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "hidden") {
		t.Error(err)
	}
	if !strings.Contains(err.Error(), "pattern") || !strings.Contains(err.Error(), "additionalProperties") {
		t.Error(err)
	}
}

func TestProblemsAreInAStableOrderAndBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("{")
	for i := range 30 {
		fmt.Fprintf(&b, `"x%02d":1,`, i)
	}
	args := json.RawMessage(b.String() + `"order":1,"cents":"1"}`)
	first := refundTool().Call(t.Context(), args).Content
	if !strings.Contains(first, "and 22 more") {
		t.Error(first)
	}
	for range 20 {
		if again := refundTool().Call(t.Context(), args).Content; again != first {
			t.Fatalf("%s\n---\n%s", first, again)
		}
	}
}

type yes string

type odd struct{}

func (odd) MarshalJSON() ([]byte, error) { return nil, errors.New("odd") }

type brittle struct{}

func (brittle) Error() string { panic("no text") }

func TestResultsAsText(t *testing.T) {
	for _, row := range []struct {
		name   string
		out    any
		status Status
		want   string
	}{
		{"string as it is", `<b>"x"</b>`, StatusOK, `<b>"x"</b>`},
		{"empty string", "", StatusOK, ""},
		{"named string", yes("yes"), StatusOK, "yes"},
		{"string that is no UTF-8", "a\xff\xfeb", StatusOK, "a\uFFFDb"},
		{"nil", nil, StatusOK, "null"},
		{"number", 9007199254740993, StatusOK, "9007199254740993"},
		{"struct without HTML escapes", address{City: "<&>"}, StatusOK, `{"city":"<&>"}`},
		{"nil slice", []int(nil), StatusOK, "null"},
		{"raw JSON", json.RawMessage(`{"a": 1}`), StatusOK, `{"a":1}`},
		{"bytes", []byte("hi"), StatusOK, `"aGk="`},
		{"empty struct", struct{}{}, StatusOK, `{}`},
		{"text marshaler", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), StatusOK, `"2026-01-02T03:04:05Z"`},
		{"marshaler that fails", odd{}, StatusError, "was carried out"},
		{"no JSON form", math.Inf(1), StatusError, "was carried out"},
		{"channel", make(chan int), StatusError, "was carried out"},
		{"raw that is no JSON", json.RawMessage(`{`), StatusError, "was carried out"},
	} {
		t.Run(row.name, func(t *testing.T) {
			res := Raw("x", "", anyObject, func(context.Context, json.RawMessage) (any, error) { return row.out, nil }).Call(t.Context(), nil)
			wantCall(t, res, row.status, row.want)
			if row.status == StatusOK && res.Content != row.want {
				t.Errorf("content %q, want %q", res.Content, row.want)
			}
		})
	}
}

func TestLongResultsAreCutBetweenRunes(t *testing.T) {
	for limit := 1; limit < 12; limit++ {
		res := Raw("x", "", anyObject, func(context.Context, json.RawMessage) (any, error) { return "aé€😀aé€😀", nil }, MaxResult(limit)).Call(t.Context(), nil)
		wantCall(t, res, StatusOK, "[cut: the result has 20 bytes")
		head, _, _ := strings.Cut(res.Content, "\n[cut")
		if len(head) > limit || !strings.HasPrefix("aé€😀aé€😀", head) {
			t.Errorf("limit %d: %q", limit, head)
		}
	}
	res := Raw("x", "", anyObject, func(context.Context, json.RawMessage) (any, error) { return strings.Repeat("x", 1<<20), nil }).Call(t.Context(), nil)
	if len(res.Content) < DefaultMaxResult || len(res.Content) > DefaultMaxResult+200 {
		t.Errorf("%d bytes by default", len(res.Content))
	}
	failed := Raw("x", "", anyObject, func(context.Context, json.RawMessage) (any, error) {
		return nil, errors.New(strings.Repeat("x", 1000))
	}, MaxResult(10)).Call(t.Context(), nil)
	if len(failed.Content) > 200 {
		t.Errorf("an error of %d bytes", len(failed.Content))
	}
}

func TestFuncsThatFailBecomeResults(t *testing.T) {
	gone := errors.New("order 42 is gone")
	for _, row := range []struct {
		name   string
		fn     func(context.Context, json.RawMessage) (any, error)
		status Status
		want   string
	}{
		{"error", func(context.Context, json.RawMessage) (any, error) { return nil, gone }, StatusError, "error: order 42 is gone"},
		{"result beside an error", func(context.Context, json.RawMessage) (any, error) { return "half", gone }, StatusError, "order 42 is gone"},
		{"error without text", func(context.Context, json.RawMessage) (any, error) { return nil, errors.New("") }, StatusError, "the call failed"},
		{"own canceled context", func(context.Context, json.RawMessage) (any, error) { return nil, context.Canceled }, StatusError, "context canceled"},
		{"panic", func(context.Context, json.RawMessage) (any, error) { panic("boom") }, StatusPanic, "fault of the tool"},
		{"panic with nil", func(context.Context, json.RawMessage) (any, error) { panic(nil) }, StatusPanic, "fault of the tool"},
		{"panic with an error", func(context.Context, json.RawMessage) (any, error) { panic(gone) }, StatusPanic, "fault of the tool"},
		{"end of the goroutine", func(context.Context, json.RawMessage) (any, error) { runtime.Goexit(); return nil, nil }, StatusPanic, "fault of the tool"},
		{"error that panics", func(context.Context, json.RawMessage) (any, error) { return nil, brittle{} }, StatusPanic, "fault of the tool"},
		{"nil map", func(context.Context, json.RawMessage) (any, error) { noMap()["x"] = 1; return nil, nil }, StatusPanic, "fault of the tool"},
	} {
		t.Run(row.name, func(t *testing.T) {
			res := Raw("x", "", anyObject, row.fn, EndsRun()).Call(t.Context(), nil)
			wantCall(t, res, row.status, row.want)
			if res.Ends {
				t.Error("a failure ends the run")
			}
			if res.Done == nil {
				t.Error("Done is nil")
			}
		})
	}
}

func TestPanicKeepsItsStackOutOfItsText(t *testing.T) {
	secret := errors.New("the secret")
	res := Raw("x", "", anyObject, func(context.Context, json.RawMessage) (any, error) { panic(secret) }).Call(t.Context(), nil)
	broken, ok := errors.AsType[*PanicError](res.Err)
	if !ok || !strings.Contains(string(broken.Stack), "call_test.go") || broken.Tool != "x" {
		t.Fatalf("%#v", res.Err)
	}
	if strings.Contains(res.Err.Error(), "secret") || strings.Contains(res.Content, "secret") {
		t.Error(res)
	}
	if !errors.Is(res.Err, secret) {
		t.Error("the panic's error is not wrapped")
	}
}

type explosive struct{}

func (*explosive) UnmarshalJSON([]byte) error { panic("boom") }

func TestPanicWhileDecodingIsAPanicOfTheTool(t *testing.T) {
	tool := New("x", "X.", func(context.Context, struct{ X explosive }) (string, error) { return "", nil })
	wantCall(t, tool.Call(t.Context(), json.RawMessage(`{"X":1}`)), StatusPanic)
	if _, ok := errors.AsType[*PanicError](tool.Check(json.RawMessage(`{"X":1}`))); !ok {
		t.Error("Check does not say so")
	}
}

func TestTimeoutEndsTheContextOfTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var cause error
		res := Raw("slow", "", anyObject, func(ctx context.Context, _ json.RawMessage) (any, error) {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return nil, ctx.Err()
		}).Call(t.Context(), nil)
		wantCall(t, res, StatusTimeout, "after 1m0s", "may have taken effect")
		if took := time.Since(start); took != DefaultTimeout {
			t.Errorf("took %v", took)
		}
		over, ok := errors.AsType[*TimeoutError](res.Err)
		if !ok || over.After != DefaultTimeout || !errors.Is(res.Err, context.DeadlineExceeded) || res.Abandoned {
			t.Errorf("%#v", res)
		}
		if _, ok := errors.AsType[*TimeoutError](cause); !ok {
			t.Errorf("cause %v", cause)
		}
	})
}

func TestSuccessWithinTheGraceIsASuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		res := Raw("slow", "", anyObject, func(ctx context.Context, _ json.RawMessage) (any, error) {
			time.Sleep(12 * time.Second)
			return "paid", nil
		}, Timeout(10*time.Second), EndsRun()).Call(t.Context(), nil)
		wantCall(t, res, StatusOK, "paid")
		if !res.Ends {
			t.Error("it does not end the run")
		}
	})
}

func TestFuncThatIgnoresItsContextIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, release := time.Now(), make(chan struct{})
		res := Raw("deaf", "", anyObject, func(context.Context, json.RawMessage) (any, error) {
			<-release
			return "late", nil
		}, Timeout(10*time.Second), Grace(3*time.Second)).Call(t.Context(), nil)
		wantCall(t, res, StatusTimeout, "after 10s")
		if took := time.Since(start); took != 13*time.Second {
			t.Errorf("took %v", took)
		}
		if !res.Abandoned {
			t.Error("not abandoned")
		}
		select {
		case <-res.Done:
			t.Error("Done before the func returned")
		default:
		}
		close(release)
		<-res.Done
	})
}

func TestEndOfTheRunCancelsItsCalls(t *testing.T) {
	stop := errors.New("the reader left")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(stop) })
		res := Raw("slow", "", anyObject, func(ctx context.Context, _ json.RawMessage) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}).Call(ctx, nil)
		wantCall(t, res, StatusCanceled, "the run ended during the call", "may have taken effect")
		if !errors.Is(res.Err, stop) {
			t.Error(res.Err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		release := make(chan struct{})
		res := Raw("deaf", "", anyObject, func(context.Context, json.RawMessage) (any, error) { <-release; return nil, nil }).Call(ctx, nil)
		wantCall(t, res, StatusCanceled)
		if !res.Abandoned || !errors.Is(res.Err, context.DeadlineExceeded) {
			t.Errorf("%#v", res)
		}
		close(release)
		<-res.Done
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	res := Raw("x", "", anyObject, func(context.Context, json.RawMessage) (any, error) { t.Error("it ran"); return nil, nil }).Call(ctx, nil)
	wantCall(t, res, StatusCanceled, "nothing was done")
	if res.Done != nil {
		t.Error("Done of a call that did not run")
	}
}

func TestTimeoutOfAnOuterToolCancelsTheInnerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := func(ctx context.Context, _ json.RawMessage) (any, error) { <-ctx.Done(); return nil, ctx.Err() }
		inner := Raw("same", "", anyObject, wait, Timeout(10*time.Second))
		var in Result
		outer := Raw("same", "", anyObject, func(ctx context.Context, args json.RawMessage) (any, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			time.Sleep(5 * time.Second)
			in = inner.Call(ctx, args)
			return nil, in.Err
		}, Timeout(10*time.Second)).Call(t.Context(), nil)
		wantCall(t, outer, StatusTimeout)
		wantCall(t, in, StatusCanceled)
	})
}

func TestNoTimeoutAndNoGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		res := Raw("long", "", anyObject, func(ctx context.Context, _ json.RawMessage) (any, error) {
			if _, has := ctx.Deadline(); has {
				t.Error("there is a deadline")
			}
			time.Sleep(1000 * time.Hour)
			return "done", nil
		}, Timeout(NoTimeout)).Call(t.Context(), nil)
		wantCall(t, res, StatusOK, "done")
	})
	synctest.Test(t, func(t *testing.T) {
		start, release := time.Now(), make(chan struct{})
		res := Raw("deaf", "", anyObject, func(context.Context, json.RawMessage) (any, error) { <-release; return nil, nil },
			Timeout(time.Second), Grace(0)).Call(t.Context(), nil)
		if took := time.Since(start); took != time.Second || !res.Abandoned {
			t.Errorf("took %v, %#v", took, res)
		}
		close(release)
		<-res.Done
	})
}

func TestContextEndsWithTheCall(t *testing.T) {
	var kept context.Context
	Raw("x", "", anyObject, func(ctx context.Context, _ json.RawMessage) (any, error) { kept = ctx; return nil, nil }).Call(t.Context(), nil)
	if kept.Err() == nil {
		t.Error("what the func left behind could run on")
	}
}

func TestFuncCannotChangeTheHistory(t *testing.T) {
	args := json.RawMessage(`{"a":1}`)
	spoil := func(args json.RawMessage) {
		for i := range args {
			args[i] = 'x'
		}
	}
	tool := Raw("x", "", anyObject, func(_ context.Context, args json.RawMessage) (any, error) { spoil(args); return nil, nil },
		NeedsApprovalFunc(func(_ context.Context, args json.RawMessage) (bool, error) { spoil(args); return false, nil }))
	if needed, err := tool.Approval(t.Context(), args); needed || err != nil {
		t.Error(needed, err)
	}
	tool.Call(t.Context(), args)
	if string(args) != `{"a":1}` {
		t.Errorf("%s", args)
	}
}

func TestToolKnowsItsCaller(t *testing.T) {
	call := Call{Key: "r1/3/0", ID: "call_0", Tool: "x", Run: "r1", Agent: "desk", Tenant: "acme", User: "u", Approver: "ann",
		Tags: map[string]string{"a": "b"}, Step: 3, Index: 0, Issue: 1}
	var got Call
	Raw("x", "", anyObject, func(ctx context.Context, _ json.RawMessage) (any, error) { got = CallFrom(ctx); return nil, nil }).
		Call(WithCall(t.Context(), call), nil)
	if fmt.Sprint(got) != fmt.Sprint(call) {
		t.Errorf("got %+v", got)
	}
	if got := CallFrom(t.Context()); got.Key != "" || got.Tags != nil {
		t.Errorf("outside of a call: %+v", got)
	}
}

func TestOutcomeThatIsThereWinsOverTheEndOfPatience(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 5000 {
		j := job{done: make(chan struct{})}
		close(j.done)
		if !j.wait(ctx, 0) {
			t.Fatal("a func that has returned is called abandoned")
		}
	}
}

func noMap() map[string]int { return nil }
