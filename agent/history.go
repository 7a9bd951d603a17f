package agent

// closed returns the transcript as a reader may have it: calls that still wait
// are answered with why. A run that is under way keeps them open in its State.
func (s *State) closed() []*MessageRef {
	if len(s.Calls) == 0 {
		return s.Refs
	}
	t := *s
	reason := "not run yet: waits for a decision"
	if s.Phase == phaseDone {
		reason = "not run: " + s.told()
	}
	t.answerCalls(reason)
	return t.Refs
}
