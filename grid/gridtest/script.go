package gridtest

import (
	"fmt"
	"net/http"
	"slices"
)

// A Script is what the model says in a conversation, turn by turn. Each
// conversation that the script takes runs through all of its steps.
type Script struct {
	market  *Market
	name    string
	match   func(Turn) bool
	steps   []Step
	cursors []*cursor // in the order in which conversations came
}

// A Step is one turn of a script.
type Step struct {
	reply  Reply
	expect []func(Turn) error
}

// Say is a step that answers with text.
func Say(text string) Step { return Answer(Reply{Text: text}) }

// CallTools is a step that calls tools.
func CallTools(calls ...ToolCall) Step { return Answer(Reply{Calls: calls}) }

// Answer is a step that answers with any reply.
func Answer(reply Reply) Step { return Step{reply: reply} }

// Expect adds an assertion on what was sent. When it returns an error the step
// answers all the same, and [Market.AssertDone] reports the error.
func (s Step) Expect(holds func(Turn) error) Step {
	s.expect = append(slices.Clone(s.expect), holds)
	return s
}

// cursor is where one conversation is in its script.
type cursor struct {
	script       *Script
	conversation string
	next         int
	again        []again
}

// again is a step whose answer did not arrive whole: the same messages get it
// once more.
type again struct {
	messages uint64
	step     int
}

// Script adds a script. A conversation keeps the first script whose match
// returns true for its first turn; nil matches all. Two runs that send the same
// first messages are one conversation: where that is not meant, let the prompts
// differ, or answer with [Market.Model] by [Turn.N].
//
// A request that is made again because its answer did not arrive whole gets the
// same step again. A turn behind the last step, or one that no script takes in
// a market without a model, is answered with 500 and reported by AssertDone.
func (m *Market) Script(name string, match func(Turn) bool, steps ...Step) *Script {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &Script{market: m, name: name, match: match, steps: slices.Clone(steps)}
	if len(steps) == 0 {
		m.failLocked("script %q has no steps", name)
	}
	m.scripts = append(m.scripts, s)
	return s
}

// Done returns nil when at least one conversation took the script and all of
// them came to its end, else what is missing.
func (s *Script) Done() error {
	s.market.mu.Lock()
	defer s.market.mu.Unlock()
	return s.doneLocked()
}

func (s *Script) doneLocked() error {
	if len(s.cursors) == 0 {
		return fmt.Errorf("script %q: no conversation took it", s.name)
	}
	for _, c := range s.cursors {
		if c.next < len(s.steps) {
			return fmt.Errorf("script %q: %s stopped after turn %d of %d", s.name, c.conversation, c.next, len(s.steps))
		}
		for _, a := range c.again {
			return fmt.Errorf("script %q: %s: the answer of turn %d did not arrive whole and was not asked for again", s.name, c.conversation, a.step+1)
		}
	}
	return nil
}

// TB is the part of testing.TB that [Market.AssertDone] needs. It keeps the
// testing package out of programs that show a market outside of tests.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
}

// AssertDone reports every script that was not consumed, every turn that
// nothing answered, every assertion that failed and every wrong use of the
// market so far. Call it when the code under test is done.
func (m *Market) AssertDone(t TB) {
	t.Helper()
	m.mu.Lock()
	problems := slices.Clone(m.failures)
	for _, s := range m.scripts {
		if err := s.doneLocked(); err != nil {
			problems = append(problems, err.Error())
		}
	}
	m.mu.Unlock()
	for _, p := range problems {
		t.Errorf("gridtest: %s", p)
	}
}

// reply finds the answer to a turn. The returned func must be told, before the
// client can know, whether the answer went out whole.
func (m *Market) reply(t Turn) (Reply, func(whole bool), *refusal) {
	script, c, at, no := m.scripted(t)
	if no != nil {
		return Reply{}, nil, no
	}
	if script == nil {
		m.mu.Lock()
		model := m.model
		m.mu.Unlock()
		if model == nil {
			return Reply{Text: "Hello from the simulated market."}, func(bool) {}, nil
		}
		return model(t), func(bool) {}, nil
	}

	step := script.steps[at]
	for _, holds := range step.expect {
		if err := checkTurn(holds, t); err != nil {
			m.mu.Lock()
			m.failLocked("script %q: %s: turn %d: %v", script.name, t.Conversation, at+1, err)
			m.mu.Unlock()
		}
	}
	return step.reply, func(whole bool) {
		if whole {
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		c.again = append(c.again, again{t.sum, at})
	}, nil
}

func checkTurn(holds func(Turn) error, t Turn) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the assertion panicked: %v", v)
		}
	}()
	return holds(t)
}

// scripted finds the script, the conversation's cursor and the step for a turn;
// a nil script leaves the turn to the model func.
func (m *Market) scripted(t Turn) (*Script, *cursor, int, *refusal) {
	m.mu.Lock()
	c := m.cursors[t.Conversation]
	scripts := slices.Clone(m.scripts)
	hasModel := m.model != nil
	m.mu.Unlock()

	if c == nil {
		// match is foreign code and may ask the market: not under the lock.
		at := slices.IndexFunc(scripts, func(s *Script) bool { return s.match == nil || s.match(t) })
		if at < 0 {
			if hasModel || len(scripts) == 0 {
				return nil, nil, 0, nil
			}
			return nil, nil, 0, m.unexpected(t, "no script takes "+t.Conversation)
		}
		m.mu.Lock()
		if c = m.cursors[t.Conversation]; c == nil {
			c = &cursor{script: scripts[at], conversation: t.Conversation}
			m.cursors[t.Conversation] = c
			c.script.cursors = append(c.script.cursors, c)
		}
		m.mu.Unlock()
	}

	m.mu.Lock()
	s := c.script
	if i := slices.IndexFunc(c.again, func(a again) bool { return a.messages == t.sum }); i >= 0 {
		step := c.again[i].step
		c.again = slices.Delete(c.again, i, i+1)
		m.mu.Unlock()
		return s, c, step, nil
	}
	step := c.next
	if step < len(s.steps) {
		c.next++
	}
	m.mu.Unlock()
	if step == len(s.steps) {
		return nil, nil, 0, m.unexpected(t, fmt.Sprintf("script %q has %d turns, %s asked for one more", s.name, len(s.steps), t.Conversation))
	}
	return s, c, step, nil
}

// unexpected notes a turn that nothing answers. What was sent is told to the
// test only: error texts of a client may end up in logs.
func (m *Market) unexpected(t Turn, what string) *refusal {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := t.Last()
	m.failLocked("%s: its last message is of role %s: %q", what, last.Role, prefix(last.Content, 200))
	return refuse(http.StatusInternalServerError, "gridtest: %s: see AssertDone", what)
}
