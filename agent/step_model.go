package agent

import (
	"slices"
	"strings"
	"time"
)

// modelDone goes on from a model op: to tools, to a check, to the end, or to
// the same question again.
func (s *State) modelDone(a answered) []Op {
	out := a.out.Model
	if out == nil {
		if s.Phase == phaseFinal {
			return s.close()
		}
		if a.out.OverTime {
			return s.overTime()
		}
		return s.fail(Failure{Class: "executor", Message: "the executor returned no outcome for a model op"}).close()
	}
	s.account(out)
	if s.Phase == phaseFinal {
		if out.Refused != nil && out.Refused.Kind == RefusedFrozen {
			return s.park(a.op, PauseFrozen, out.Refused.Detail) // the answer is owed after the thaw
		}
		return s.finalDone(a)
	}
	switch {
	case out.Message != nil:
		return s.took(a, *out.Message)
	case out.Refused != nil:
		return s.refused(a.op, *out.Refused)
	case a.out.OverTime:
		return s.overTime()
	case out.Failed != nil:
		return s.fail(*out.Failed).close()
	}
	return s.fail(Failure{Class: "executor", Message: "the executor returned an empty model outcome"}).close()
}

func (s *State) overTime() []Op {
	return s.finish(StopWall, "the limit of "+s.Limits.Wall.String()+" of work is reached")
}

// account adds what a model op used, whether it brought an answer or not.
func (s *State) account(out *ModelOut) {
	r := out.Record
	s.Totals.Attempts += len(r.Attempts)
	s.Totals.CostNanoUSD += r.CostNanoUSD
	s.Totals.InputTokens += r.InputTokens
	s.Totals.OutputTokens += r.OutputTokens
	if out.Message != nil {
		s.Totals.ModelCalls++
		s.Taken++
		if r.Instrument != "" {
			s.Sticky = r.Instrument
		}
	}
	if out.Message != nil || len(r.Attempts) > 0 {
		s.record(&r)
	}
}

// took takes an answer. Whether tools are called decides what comes next, never
// the finish reason.
func (s *State) took(a answered, m MessageRef) []Op {
	s.Exclude, s.Held = nil, 0
	if m.Text {
		s.LastText = &m
	}
	if len(m.Calls) > 0 && !a.op.Model.NoTools {
		return s.startCalls(m)
	}
	if len(m.Calls) > 0 {
		// Calls that nobody offered: they are answered, so that the transcript
		// stays valid, and the text counts.
		s.add(m)
		for _, c := range m.Calls {
			s.add(note(c.ID, "not run: no tool was offered in this step"))
		}
	}
	if s.Verify != "" {
		s.Phase = phaseVerify
		s.Candidate = &m
		return s.emit(Op{Kind: OpVerify, Name: s.Verify, Key: s.aside(), Issue: 1,
			Verify: &VerifyIn{Step: s.Turn, Candidate: m}})
	}
	if len(m.Calls) == 0 {
		s.add(m)
	}
	s.Answer, s.Final = &m, true
	return s.stop(StopCompleted, "the model answered").close()
}

// verified goes on from the check of a candidate answer.
func (s *State) verified(a answered) []Op {
	m := s.Candidate
	s.Candidate = nil
	if m == nil || a.out.Verify == nil {
		return s.fail(Failure{Class: "executor", Message: "the executor returned no outcome for a verify op"}).close()
	}
	if len(m.Calls) == 0 {
		s.add(*m)
	}
	if a.out.Verify.OK {
		s.Answer, s.Final = m, true
		return s.stop(StopCompleted, "the model answered").close()
	}
	if s.Repairs >= s.Limits.Repairs {
		s.Answer = m
		return s.stop(StopInvalidOutput, sentence(wrongForm, a.out.Verify.Rules)).close()
	}
	s.Repairs++
	s.Turn++
	s.add(say("Your answer does not have the required form. " + a.out.Verify.Problem +
		"\nAnswer again with the corrected JSON only."))
	return s.ask()
}

const wrongForm = "the answer does not have the wanted form"

// refused answers a model op that came back without an answer.
func (s *State) refused(op Op, r Refusal) []Op {
	switch r.Kind {
	case RefusedTooLong:
		if r.Instrument == "" || slices.Contains(s.Exclude, r.Instrument) || s.Pin != "" {
			return s.finish(StopTooLong, "no instrument takes a prompt of this size")
		}
		s.Exclude = append(slices.Clip(slices.Clone(s.Exclude)), r.Instrument)
		return s.reissue(op)
	case RefusedHeld:
		if r.Waited || s.Held >= heldTries {
			return s.finish(StopBudget, "a cap is held by other runs: "+r.Detail)
		}
		s.Held++
		return s.rest(op, heldBase<<min(s.Held-1, 5), sleepHeld)
	case RefusedTryLater, RefusedBroken:
		pause, reason := PauseTopUp, sleepTopUp
		if r.Kind == RefusedBroken {
			pause, reason = PauseBroken, sleepBroken
		}
		if left := s.waitLeft(); left <= 0 || r.After > left {
			return s.park(op, pause, r.Detail)
		}
		return s.rest(op, max(r.After, time.Second), reason)
	case RefusedFrozen:
		return s.park(op, PauseFrozen, r.Detail)
	case RefusedStore:
		return s.park(op, PauseStore, r.Detail)
	case RefusedSpent, RefusedTooBig:
		return s.finish(StopBudget, r.Detail)
	}
	return s.fail(Failure{Class: "executor", Message: "the executor refused a model op for an unknown reason"}).close()
}

const (
	heldTries = 8
	heldBase  = 100 * time.Millisecond
)

// rest sleeps before op is issued again.
func (s *State) rest(op Op, d time.Duration, reason string) []Op {
	s.Phase = phaseRest
	ops := s.emit(Op{Kind: OpSleep, Name: reason, Key: s.aside(), Issue: 1, Sleep: &SleepIn{For: d, Reason: reason}})
	s.Again = &op
	return ops
}

// park waits for somebody outside before op is issued again.
func (s *State) park(op Op, why PauseReason, detail string) []Op {
	s.Phase = phaseRest
	ops := s.emit(Op{Kind: OpAwait, Name: string(why), Key: s.aside(), Issue: 1, Await: &AwaitIn{Reason: why, Detail: detail}})
	s.Again = &op
	return ops
}

func (s *State) rested(a answered) []Op {
	op := s.Again
	s.Again = nil
	if op == nil {
		return s.fail(Failure{Class: "executor", Message: "a rest ended that nobody took"}).close()
	}
	if a.op.Kind == OpAwait {
		s.Waited = 0 // a resumed run has its wait budget again
	}
	if op.Model != nil && op.Model.Final {
		s.Phase = phaseFinal
		return s.reissue(*op)
	}
	if s.Limits.Wall > 0 && s.Elapsed >= s.Limits.Wall {
		return s.finish(StopWall, "the limit of "+s.Limits.Wall.String()+" of work is reached")
	}
	s.Phase = phaseModel
	if op.Model != nil && op.Model.Final {
		s.Phase = phaseFinal
	}
	return s.reissue(*op)
}

// finish asks for the answer at a limit: no tools, floor size, paid from the
// allowance that was reserved from the start.
func (s *State) finish(why Stop, reason string) []Op {
	s.stop(why, reason)
	s.answerCalls("not run: " + s.told())
	s.Phase = phaseFinal
	s.Turn++
	s.Index = 0
	s.Exclude = nil
	s.add(say("Stop here: " + s.told() + ". No tool can be called any more. Answer now with what you have, briefly, and say what is missing."))
	return s.emit(Op{
		Kind: OpModel, Name: s.Agent, Key: s.key(0), Issue: 1,
		Model: &ModelIn{
			Step: s.Turn, Messages: s.Refs, Kind: kindText, NoTools: true, Final: true, Schema: s.Schema,
			MaxTokens: finalTokens, Wait: min(s.waitLeft(), finalGrace), Pin: s.Pin, Sticky: s.Sticky,
		},
	})
}

// told is the reason in words for the model: denials and errors name tenants and
// hosts, which are none of its business.
func (s *State) told() string {
	switch s.Stop {
	case StopBudget:
		return "the budget is used up"
	case StopError:
		return "the run failed"
	}
	return s.Reason
}

// finalDone ends a run at its limit: with the answer, else with the last text.
func (s *State) finalDone(a answered) []Op {
	m := a.out.Model.Message
	if r := a.out.Model.Refused; r != nil && r.Kind == RefusedStore {
		return s.park(a.op, PauseStore, r.Detail)
	}
	if m == nil {
		// The question was never answered; it does not belong in the history.
		s.unsay()
		s.Answer = s.LastText
		if s.Answer == nil && a.out.Model.Failed != nil && s.Failure == nil {
			s.Failure = a.out.Model.Failed
		}
		return s.close()
	}
	s.add(*m)
	for _, c := range m.Calls {
		s.add(note(c.ID, "not run: "+s.told()))
	}
	if m.Text {
		s.Answer, s.Final = m, true
	} else {
		s.Answer = s.LastText
	}
	return s.close()
}

// unsay takes back a question of the loop's own that stands last.
func (s *State) unsay() {
	if n := len(s.Refs); n > 0 && s.Refs[n-1].Inline != nil && s.Refs[n-1].Role == "user" {
		s.Refs = s.Refs[: n-1 : n-1]
	}
}

// toldAbove is an answer in words for the model that called the run's agent: with why it
// is not whole, if it is not.
func (s State) toldAbove(text string) string {
	switch s.Stop {
	case StopCompleted, StopTool:
		return text
	case StopError:
		why := ""
		if s.Failure != nil {
			why = s.Failure.Class
		}
		return sentence("the agent failed", why, text)
	}
	if text == "" {
		return "the agent stopped without an answer: " + s.told()
	}
	return text + "\n\n(The agent was stopped before it was done: " + s.told() + ".)"
}

// say is a message to the model that the loop writes itself.
func say(text string) MessageRef {
	return MessageRef{Role: "user", Text: true, Bytes: len(text), Inline: &Inline{Text: text}}
}

// note answers a tool call that was not run.
func note(callID, text string) MessageRef {
	return MessageRef{Role: "tool", Bytes: len(text), Inline: &Inline{Text: text, CallID: callID}}
}

// sentence joins parts that are not empty.
func sentence(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), ": ")
}
