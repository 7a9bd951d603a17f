package grid

import "bytes"

// events cuts a stream of server-sent events into data. It is fed the bytes as they
// come, cut anywhere, and calls emit for each data line as soon as that line is whole:
// a line that is a complete object cannot be the beginning of a longer one. Data over
// several lines is joined. Comments, ids and retry times are skipped, any number of
// them; CRLF, LF and CR end a line; a last line without an end counts.
type events struct {
	carry   []byte // a line whose end has not come
	pending []byte // data lines that are not yet an object
	name    string // the event field of the current event
	begun   bool
	known   bool // a line was one of an event stream
	lines   int
	// emit tells whether data was understood; partial data is offered again with the
	// next line joined to it.
	emit func(event string, data []byte) (understood bool, err error)
}

// maxJoined and maxJoinedBytes bound the data lines of one event, which is read again
// with each further line.
const (
	maxJoined      = 1000
	maxJoinedBytes = 1 << 20
)

func (e *events) feed(b []byte) error {
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			e.carry = append(e.carry, b...)
			return nil
		}
		line := b[:i]
		if len(e.carry) > 0 {
			e.carry = append(e.carry, line...)
			line = e.carry
		}
		if err := e.physical(line); err != nil {
			return err
		}
		e.carry = e.carry[:0]
		b = b[i+1:]
	}
}

// end takes what is left when the stream is over.
func (e *events) end() error {
	line := e.carry
	e.carry = nil
	if len(line) > 0 {
		if err := e.physical(line); err != nil {
			return err
		}
	}
	return nil
}

// physical splits at lone carriage returns.
func (e *events) physical(line []byte) error {
	if !e.begun {
		e.begun = true
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	for {
		i := bytes.IndexByte(line, '\r')
		if i < 0 {
			return e.line(line)
		}
		if err := e.line(line[:i]); err != nil {
			return err
		}
		line = line[i+1:]
	}
}

func (e *events) line(line []byte) error {
	if len(line) == 0 {
		e.name = ""
		if len(e.pending) > 0 {
			return errChunk
		}
		return nil
	}
	switch line[0] {
	case ':':
		e.known = true
		return nil
	case '{': // an object without the field's name, as some proxies report errors
		return e.data(line)
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	switch string(name) {
	case "data":
		e.known = true
		return e.data(bytes.TrimSpace(value))
	case "event":
		e.known = true
		e.name = string(bytes.TrimSpace(value))
	}
	return nil
}

func (e *events) data(data []byte) error {
	if len(e.pending) > 0 {
		if e.lines++; e.lines > maxJoined || len(e.pending)+len(data) > maxJoinedBytes {
			return errChunk
		}
		e.pending = append(append(e.pending, '\n'), data...)
		understood, err := e.emit(e.name, e.pending)
		if understood {
			e.pending = e.pending[:0]
		}
		return err
	}
	if len(data) == 0 {
		return nil
	}
	understood, err := e.emit(e.name, data)
	if !understood && err == nil {
		e.lines = 1
		e.pending = append(e.pending, data...)
	}
	return err
}
