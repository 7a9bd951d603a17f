package grid

import (
	"io"
	"sync/atomic"
)

// body is an encoded request: pieces that are shared with the transcript and the
// tool list, so that a step copies nothing of its history.
type body struct {
	segments [5][]byte
	size     int64
}

func (b *body) seal() {
	b.size = 0
	for _, s := range b.segments {
		b.size += int64(len(s))
	}
}

// bodyReader reads a body once. It remembers whether it was handed out to the last
// byte: a request of which the server lacks a part cannot have been served.
type bodyReader struct {
	from *body
	seg  int
	off  int
	read int64
	sent *atomic.Bool
}

func newBodyReader(from *body) *bodyReader {
	b := &struct {
		bodyReader
		sent atomic.Bool
	}{}
	b.from, b.bodyReader.sent = from, &b.sent
	return &b.bodyReader
}

// again is the body for another try of the same hop.
func (r *bodyReader) again() (io.ReadCloser, error) {
	return &bodyReader{from: r.from, sent: r.sent}, nil
}

func (r *bodyReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && r.seg < len(r.from.segments) {
		s := r.from.segments[r.seg][r.off:]
		if len(s) == 0 {
			r.seg++
			r.off = 0
			continue
		}
		k := copy(p[n:], s)
		n += k
		r.off += k
	}
	r.read += int64(n)
	if r.read == r.from.size {
		r.sent.Store(true)
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *bodyReader) Close() error { return nil }
