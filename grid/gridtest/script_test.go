package gridtest_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gridloop/gridloop/grid/gridtest"
)

// fakeTB collects what AssertDone reports.
type fakeTB struct{ errors []string }

func (f *fakeTB) Helper() {}
func (f *fakeTB) Errorf(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func says(content string) func(gridtest.Turn) bool {
	return func(t gridtest.Turn) bool { return t.Last().Content == content }
}

// ask sends a conversation of user and assistant messages in turn.
func ask(t *testing.T, m *gridtest.Market, messages ...string) (int, string) {
	t.Helper()
	var all []string
	for i, content := range messages {
		all = append(all, fmt.Sprintf(`{"role":%q,"content":%q}`, []string{"user", "assistant"}[i%2], content))
	}
	status, _, body := chat(t, memoryClient(m), m.BaseURL(), m.Key(), `{"model":"text-prime","messages":[`+strings.Join(all, ",")+`]}`)
	return status, body
}

func TestAssertDoneTellsWhatIsWrong(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(t *testing.T, m *gridtest.Market)
		want []string // a part of each report, in order
	}{
		{"nothing", func(t *testing.T, m *gridtest.Market) {
			m.Script("s", nil, gridtest.Say("a"))
			ask(t, m, "x")
		}, nil},
		{"a script that nobody took", func(t *testing.T, m *gridtest.Market) {
			m.Script("s", nil, gridtest.Say("a"))
		}, []string{`script "s": no conversation took it`}},
		{"a script that stopped", func(t *testing.T, m *gridtest.Market) {
			m.Script("s", nil, gridtest.Say("a"), gridtest.Say("b"))
			ask(t, m, "x")
		}, []string{`stopped after turn 1 of 2`}},
		{"one of two conversations that stopped", func(t *testing.T, m *gridtest.Market) {
			m.Script("s", nil, gridtest.Say("a"), gridtest.Say("b"))
			ask(t, m, "x")
			ask(t, m, "y")
			ask(t, m, "x", "a", "more")
		}, []string{`stopped after turn 1 of 2`}},
		{"a turn too many", func(t *testing.T, m *gridtest.Market) {
			m.Script("s", nil, gridtest.Say("a"))
			ask(t, m, "x")
			if status, body := ask(t, m, "x", "a", "secret"); status != 500 || !strings.Contains(body, `script \"s\" has 1 turns`) || strings.Contains(body, "secret") {
				t.Errorf("%d %s", status, body)
			}
		}, []string{`asked for one more: its last message is of role user: "secret"`}},
		{"a turn that no script takes", func(t *testing.T, m *gridtest.Market) {
			m.Script("s", says("x"), gridtest.Say("a"))
			ask(t, m, "x")
			if status, _ := ask(t, m, "y"); status != 500 {
				t.Errorf("status %d", status)
			}
		}, []string{`no script takes conv_`}},
		{"an assertion that fails", func(t *testing.T, m *gridtest.Market) {
			m.Script("s", nil, gridtest.Say("a").Expect(func(gridtest.Turn) error { return errors.New("too few tools") }).Expect(func(gridtest.Turn) error { return nil }))
			if status, body := ask(t, m, "x"); status != 200 || !strings.Contains(body, `"content":"a"`) {
				t.Errorf("%d %s", status, body)
			}
		}, []string{`turn 1: too few tools`}},
		{"an assertion that panics", func(t *testing.T, m *gridtest.Market) {
			m.Script("s", nil, gridtest.Say("a").Expect(func(turn gridtest.Turn) error { _ = turn.Messages[7]; return nil }))
			ask(t, m, "x")
		}, []string{`the assertion panicked`}},
		{"a model func that panics", func(t *testing.T, m *gridtest.Market) {
			m.Model(func(gridtest.Turn) gridtest.Reply { panic("out of ideas") })
			if status, _ := ask(t, m, "x"); status != 500 || m.Bill("") != 0 {
				t.Errorf("status %d, bill %d", status, m.Bill(""))
			}
		}, []string{`out of ideas`}},
		{"an answer that was cut and not asked for again", func(t *testing.T, m *gridtest.Market) {
			m.Script("s", nil, gridtest.Say("a"))
			m.Fault(gridtest.Fault{Kind: gridtest.EmptyBody})
			ask(t, m, "x")
		}, []string{`did not arrive whole`}},
		{"a script without steps", func(t *testing.T, m *gridtest.Market) {
			m.Script("s", says("x"))
		}, []string{`script "s" has no steps`, `no conversation took it`}},
		{"wrong use", func(t *testing.T, m *gridtest.Market) {
			m.SetBalance("gpt-5", 1)
			m.SetBalance("gpt-5", 2) // reported once
			m.Balance("gpt-5")
			m.AddLot("text-prime", gridtest.Lot{Tokens: -1})
			m.SetPrice("text-prime", -1)
			m.Fault(gridtest.Fault{Status: 200}, gridtest.Fault{Kind: 99}, gridtest.Fault{Kind: gridtest.CutStream, Hop: 1},
				gridtest.Fault{Status: 500, Rate: 2}, gridtest.Fault{Status: 500, Instrument: "gpt-5"}, gridtest.Fault{Kind: gridtest.HTML, Status: 99})
			if status, _ := ask(t, m, "x"); status != 200 {
				t.Errorf("a wrong fault struck: %d", status)
			}
		}, []string{`SetBalance: there is no instrument "gpt-5"`, `Balance: there is no`, `AddLot: -1`, `SetPrice: -1`, `status 200`, `kind 99`, `hop 1`, `Rate 2`, `fault: there is no instrument`, `status 99`}},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := gridtest.New(gridtest.Config{})
			defer m.Close()
			row.do(t, m)
			var got fakeTB
			m.AssertDone(&got)
			for i := range max(len(got.errors), len(row.want)) {
				switch {
				case i >= len(got.errors):
					t.Errorf("not reported: %s", row.want[i])
				case i >= len(row.want):
					t.Errorf("reported: %s", got.errors[i])
				case !strings.Contains(got.errors[i], row.want[i]):
					t.Errorf("reported %q, want %q in it", got.errors[i], row.want[i])
				}
			}
		})
	}
}

func TestWrongConfigIsReported(t *testing.T) {
	m := gridtest.New(gridtest.Config{
		Instruments: []gridtest.Instrument{{ID: "a"}, {ID: "a"}, {ID: "B"}, {ID: "c", MaxInput: -1}, {ID: "d", PriceNanoUSD: -1}},
		Balance:     map[string]int64{"e": 1},
	})
	defer m.Close()
	var got fakeTB
	m.AssertDone(&got)
	if len(got.errors) != 5 {
		t.Errorf("%d reports, want 5: %s", len(got.errors), strings.Join(got.errors, "\n"))
	}
}

func TestAnAnswerThatDidNotArriveIsGivenAgain(t *testing.T) {
	for name, fault := range map[string]gridtest.Fault{
		"cut":             {Kind: gridtest.CutStream, AfterChunks: 2, Times: 2},
		"dropped":         {Kind: gridtest.DropConnection, Times: 2},
		"without choices": {Kind: gridtest.NoChoices, Times: 2},
		"500":             {Kind: gridtest.Status, Status: 500, Hop: 2, Times: 2},
		"500 billed":      {Kind: gridtest.Status, Status: 500, Hop: 2, Times: 2, Billed: true},
	} {
		t.Run(name, func(t *testing.T) {
			ways(t, gridtest.Config{}, func(t *testing.T, m *gridtest.Market, client *http.Client, base string) {
				m.Script("s", nil, gridtest.Say("first"), gridtest.Say("second"))
				m.Fault(fault)
				stream := strings.Replace(hello, "{", `{"stream":true,`, 1)
				outcome(t, m, client, base, stream)
				outcome(t, m, client, base, stream)
				if _, _, body, _ := outcome(t, m, client, base, stream); !strings.Contains(body, "first") {
					t.Errorf("asked again: %s", body)
				}
				// The same messages once more are a new turn: nothing is owed.
				if _, _, body, _ := outcome(t, m, client, base, stream); !strings.Contains(body, "second") {
					t.Errorf("asked once more: %s", body)
				}
				m.AssertDone(t)
			})
		})
	}
}

func TestEachConversationHasItsOwnPlaceInTheScript(t *testing.T) {
	m := gridtest.New(gridtest.Config{})
	defer m.Close()
	m.Script("orders", func(turn gridtest.Turn) bool { return strings.HasPrefix(turn.Last().Content, "order") },
		gridtest.Say("one"), gridtest.Say("two"), gridtest.Say("three"))
	m.Script("rest", nil, gridtest.Answer(gridtest.Reply{Text: "rest", FinishReason: "content_filter"}))
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			history := []string{fmt.Sprintf("order %d", i)}
			for _, want := range []string{"one", "two", "three"} {
				status, body := ask(t, m, history...)
				if status != 200 || !strings.Contains(body, `"content":"`+want+`"`) {
					t.Errorf("order %d: %d %s, want %s", i, status, body, want)
				}
				history = append(history, want, "go on")
			}
		})
	}
	all.Wait()
	if _, body := ask(t, m, "something else"); !strings.Contains(body, "content_filter") {
		t.Errorf("the second script: %s", body)
	}
	m.AssertDone(t)
}

func TestScriptsGoBeforeTheModel(t *testing.T) {
	m := gridtest.New(gridtest.Config{})
	defer m.Close()
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		return gridtest.Reply{Text: fmt.Sprintf("model at %d", turn.N)}
	})
	m.Script("s", says("x"), gridtest.Say("script"))
	if _, body := ask(t, m, "x"); !strings.Contains(body, `"script"`) {
		t.Errorf("scripted: %s", body)
	}
	if _, body := ask(t, m, "y", "model at 0", "z"); !strings.Contains(body, "model at 1") {
		t.Errorf("not scripted: %s", body)
	}
	m.AssertDone(t)
}
