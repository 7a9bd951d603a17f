package agent

import (
	"reflect"
	"testing"
)

func TestDeltasMergeUntilTheReaderAsks(t *testing.T) {
	q := newQueue()
	read := func(want ...Event) {
		t.Helper()
		got, ok := q.next()
		if !ok || !reflect.DeepEqual(got, want) {
			t.Fatalf("read %#v, %v; want %#v", got, ok, want)
		}
	}
	q.say(1, "a")
	q.say(1, "b")
	q.push(Warning{Step: 1})
	q.say(1, "c")
	q.say(2, "d")
	read(TextDelta{1, "ab"}, Warning{Step: 1}, TextDelta{1, "c"}, TextDelta{2, "d"})
	q.say(2, "e")
	batch, _ := q.next()
	q.say(2, "f") // while the reader still has its batch
	q.push(Warning{Step: 2})
	if !reflect.DeepEqual(batch, []Event{TextDelta{2, "e"}}) {
		t.Fatalf("what was read became %#v", batch)
	}
	read(TextDelta{2, "f"}, Warning{Step: 2})
	q.say(3, "g")
	q.end()
	q.say(3, "late")
	read(TextDelta{3, "g"})
	if got, ok := q.next(); ok {
		t.Fatalf("after the end there was %#v", got)
	}
}

func TestTheFirstTextOfEachStepGoesFirst(t *testing.T) {
	q := newQueue()
	for _, s := range []struct {
		step  int
		first bool
	}{{0, true}, {0, false}, {1, true}, {1, false}, {3, true}} {
		if q.add(s.step, "a") != s.first {
			t.Errorf("step %d: first is %v", s.step, !s.first)
		}
		if s.step == 1 {
			q.next()
		}
	}
	q.leave()
	if q.add(4, "a") {
		t.Error("it goes to a reader that left")
	}
}
