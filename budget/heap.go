package budget

// heap orders items by due time, and tells each where it stands, so that it can be taken out from the middle.
type heap[T heapItem] struct{ items []T }

type heapItem interface {
	due() int64
	setPos(int)
}

func (h *heap[T]) push(x T) {
	h.items = append(h.items, x)
	h.up(len(h.items) - 1)
}

// remove takes out the item at i.
func (h *heap[T]) remove(i int) {
	var none T
	last := len(h.items) - 1
	h.items[i].setPos(-1)
	if i != last {
		h.items[i] = h.items[last]
	}
	h.items[last] = none
	h.items = h.items[:last]
	if i < last {
		h.fix(i)
	}
}

// fix restores the order after the due time of the item at i changed.
func (h *heap[T]) fix(i int) {
	if !h.down(i) {
		h.up(i)
	}
}

func (h *heap[T]) up(i int) {
	x := h.items[i]
	for i > 0 {
		parent := (i - 1) / 2
		if h.items[parent].due() <= x.due() {
			break
		}
		h.items[i] = h.items[parent]
		h.items[i].setPos(i)
		i = parent
	}
	h.items[i] = x
	x.setPos(i)
}

func (h *heap[T]) down(i int) bool {
	x, from := h.items[i], i
	for {
		child := 2*i + 1
		if child >= len(h.items) {
			break
		}
		if child+1 < len(h.items) && h.items[child+1].due() < h.items[child].due() {
			child++
		}
		if x.due() <= h.items[child].due() {
			break
		}
		h.items[i] = h.items[child]
		h.items[i].setPos(i)
		i = child
	}
	h.items[i] = x
	x.setPos(i)
	return i > from
}

// queue is first in, first out.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) push(x T) { q.items = append(q.items, x) }

func (q *queue[T]) first() T { return q.items[q.head] }

func (q *queue[T]) pop() {
	var none T
	q.items[q.head] = none
	q.head++
	if q.head > 64 && 2*q.head > len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
}
