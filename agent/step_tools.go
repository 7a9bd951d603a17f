package agent

import "slices"

// startCalls begins the turn of an assistant message that calls tools.
func (s *State) startCalls(m MessageRef) []Op {
	s.add(m)
	s.Calls = make([]call, len(m.Calls))
	for i, c := range m.Calls {
		s.Calls[i] = call{Ref: c}
	}
	if s.Limits.ToolCalls > 0 && s.Totals.ToolCalls+len(m.Calls) > s.Limits.ToolCalls {
		return s.finish(StopToolCalls, "the limit of tool calls is reached")
	}
	s.Totals.ToolCalls += len(m.Calls)
	return s.nextWave()
}

// nextWave issues the next calls of the turn: neighbouring read-only calls go
// together, at most Limits.Parallel at once, any other call goes alone; waves go
// in call order.
func (s *State) nextWave() []Op {
	s.Phase = phaseTools
	from := slices.IndexFunc(s.Calls, func(c call) bool { return c.State == callTodo })
	if from < 0 {
		return s.endTurn()
	}
	if s.Limits.Wall > 0 && s.Elapsed >= s.Limits.Wall {
		return s.finish(StopWall, "the limit of "+s.Limits.Wall.String()+" of work is reached")
	}
	to := from + 1
	if s.Calls[from].Ref.ReadOnly {
		for to < len(s.Calls) && s.Calls[to].State == callTodo && s.Calls[to].Ref.ReadOnly {
			to++
		}
	}
	m := s.turnMessage()
	s.Calls = slices.Clone(s.Calls)
	ops := make([]Op, 0, to-from)
	for i := from; i < to; i++ {
		c := &s.Calls[i]
		c.State = callOpen
		c.Issues++
		op := Op{Kind: OpTool, Name: c.Ref.Name, Key: s.key(i + 1), Issue: c.Issues,
			Tool: &ToolIn{Step: s.Turn, Message: m, Index: i, Parallel: to-from > 1, Decision: c.Decision}}
		if c.Ref.Agent != "" {
			op.Kind, op.Name, op.Tool = OpRun, c.Ref.Agent, nil
			op.Run = &RunIn{Step: s.Turn, Message: m, Index: i}
		}
		ops = append(ops, op)
	}
	return s.emit(ops...)
}

// turnMessage is the assistant message whose calls are under way: the results
// are added only when all of them are there.
func (s *State) turnMessage() MessageRef { return *s.Refs[len(s.Refs)-1] }

// toolsDone takes the results of a wave.
func (s *State) toolsDone(done []answered) []Op {
	s.absorb(done)
	for _, a := range done {
		if a.out.OverTime && s.Limits.Wall > 0 {
			s.Elapsed = max(s.Elapsed, s.Limits.Wall)
		}
	}
	if len(s.Pending) > 0 {
		return s.Pending
	}
	if i := slices.IndexFunc(s.Calls, func(c call) bool { return c.State == callHalt }); i >= 0 {
		return s.halted(*s.Calls[i].Refused)
	}
	var asks []Op
	for i, c := range s.Calls {
		if c.State == callAsked {
			asks = append(asks, Op{Kind: OpAwait, Name: string(PauseApproval), Key: s.aside(), Issue: 1,
				Await: &AwaitIn{Reason: PauseApproval, Call: &CallAt{Key: s.key(i + 1), Step: s.Turn, Message: s.turnMessage(), Index: i}}})
		}
	}
	if len(asks) > 0 {
		s.Phase = phaseAsk
		return s.emit(asks...)
	}
	return s.nextWave()
}

// halted parks the run, or ends it, because the ledger refused calls of the wave.
func (s *State) halted(r Refusal) []Op {
	why := PauseFrozen
	switch r.Kind {
	case RefusedStore:
		why = PauseStore
	case RefusedNoLabel:
		return s.fail(Failure{Class: string(RefusedNoLabel), Message: r.Detail}).close()
	}
	s.Phase = phaseAsk
	return s.emit(Op{Kind: OpAwait, Name: string(why), Key: s.aside(), Issue: 1, Await: &AwaitIn{Reason: why, Detail: r.Detail}})
}

// absorb keeps the results of tool and run ops.
func (s *State) absorb(done []answered) *State {
	if s.Phase != phaseTools {
		for _, a := range done {
			if a.out.Model != nil {
				s.account(a.out.Model)
			}
		}
		return s
	}
	s.Calls = slices.Clone(s.Calls)
	for _, a := range done {
		i := s.callIndex(a.op)
		if i < 0 {
			continue
		}
		c := &s.Calls[i]
		switch {
		case a.out.Tool != nil && a.out.Tool.Ask:
			c.State = callAsked
		case a.out.Tool != nil && a.out.Tool.Refused != nil:
			c.State, c.Refused = callHalt, a.out.Tool.Refused
		case a.out.Run != nil && a.out.Run.Refused != nil:
			c.State, c.Refused = callHalt, a.out.Run.Refused
		case a.out.Tool != nil && a.out.Tool.Message != nil:
			c.State, c.Result = callDone, a.out.Tool.Message
			c.Failed = failed(a.out.Tool.Status)
			c.Ends = a.out.Tool.Ends
			if a.out.Tool.Abandoned {
				s.Abandoned = append(slices.Clip(s.Abandoned), a.op.Name+" ("+a.op.Key+")")
			}
		case a.out.Run != nil && a.out.Run.Message != nil:
			c.State, c.Result = callDone, a.out.Run.Message
			c.Failed = failed(a.out.Run.Status)
			if a.out.Run.Stop == StopBudget && s.Below == "" {
				s.Below = "the agent " + a.op.Name + " was stopped: " + a.out.Run.Reason
			}
			s.Totals = s.Totals.plus(a.out.Run.Totals)
			s.record(a.out.Run.Steps...)
		case a.out.Canceled:
			// The end of the run answers it.
		default:
			n := note(c.Ref.ID, "not run: the executor returned no result")
			c.State, c.Result, c.Failed = callDone, &n, true
		}
	}
	return s
}

// failed reports whether a call may have failed for want of a better model.
func failed(status string) bool { return status != "ok" && status != statusBudget }

func (s *State) callIndex(op Op) int {
	switch {
	case op.Tool != nil:
		return op.Tool.Index
	case op.Run != nil:
		return op.Run.Index
	}
	return -1
}

// decided takes what people decided about calls that asked, or that a halt is over.
// Calls go on when all are decided, so that they run in call order.
func (s *State) decided(done []answered) []Op {
	s.Calls = slices.Clone(s.Calls)
	for _, a := range done {
		if a.op.Await == nil {
			continue
		}
		if a.op.Await.Call == nil { // thawed
			s.Waited = 0 // a resumed run has its wait budget again
			for i := range s.Calls {
				if c := &s.Calls[i]; c.State == callHalt {
					c.State, c.Refused = callTodo, nil
				}
			}
			continue
		}
		c := &s.Calls[a.op.Await.Call.Index]
		c.State = callTodo
		c.Decision = &Decision{Reason: "no decision was delivered"}
		if a.out.Await != nil && a.out.Await.Decision != nil {
			c.Decision = a.out.Await.Decision
		}
	}
	if len(s.Pending) > 0 {
		return s.Pending
	}
	return s.nextWave()
}

// endTurn adds the results in call order and asks the model again.
func (s *State) endTurn() []Op {
	failed, ends := 0, -1
	for i, c := range s.Calls {
		if c.Failed {
			failed++
		}
		if c.Ends && ends < 0 {
			ends = i
		}
	}
	if ends >= 0 {
		s.Answer, s.Final = s.Calls[ends].Result, true
		return s.stop(StopTool, "the tool "+s.Calls[ends].Ref.Name+" ended the run").close()
	}
	if failed == len(s.Calls) {
		s.Stumbles++
	} else {
		s.Stumbles, s.Escalation = 0, 0
	}
	// Two turns in a row with nothing but failures are evidence that the tier
	// is too low; one is what repair is for.
	if s.Stumbles == 2 {
		s.Escalation++
		s.Totals.Escalations++
		s.Stumbles = 0
	}
	s.answerCalls("")
	s.Turn++
	return s.ask()
}

// answerCalls adds an answer for every call of the turn, in call order: its
// result, else why there is none.
func (s *State) answerCalls(missing string) {
	if len(s.Calls) == 0 {
		return
	}
	refs := make([]MessageRef, len(s.Calls))
	for i, c := range s.Calls {
		if c.Result != nil {
			refs[i] = *c.Result
		} else {
			refs[i] = note(c.Ref.ID, missing)
		}
	}
	s.Calls = nil
	s.add(refs...)
}

// close ends the run with a transcript that can be sent: every call answered
// once, in call order.
func (s *State) close() []Op {
	if s.Phase == phaseFinal && s.Answer == nil {
		s.unsay()
	}
	missing := "not run: " + s.told()
	s.answerCalls(missing)
	if s.Answer == nil && s.LastText != nil {
		s.Answer = s.LastText
	}
	if s.Below != "" && s.Stop != StopBudget {
		s.Reason += "; before that " + s.Below
	}
	s.Phase = phaseDone
	s.Pending, s.Candidate, s.Again = nil, nil, nil
	return nil
}
