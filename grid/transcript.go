package grid

// Transcript is a conversation as it goes over the wire. It only grows: each message
// is encoded once, when it is appended, and requests made earlier stay valid while it
// does, because nothing below their end is written again. Whoever rewrites history
// makes a new Transcript. Append is not safe for concurrent use; requests may read
// while another goroutine appends only if their Chat began before.
type Transcript struct {
	buf []byte // messages, joined by commas
	n   int
}

// NewTranscript returns an empty transcript.
func NewTranscript() *Transcript { return &Transcript{} }

// Append encodes the messages as they are (see Message.Portable) behind what is
// there. After an error none of them was appended.
func (t *Transcript) Append(messages ...Message) error {
	buf := t.buf
	for i, m := range messages {
		if i > 0 || t.n > 0 {
			buf = append(buf, ',')
		}
		var err error
		if buf, err = appendMessage(buf, m); err != nil {
			return err
		}
	}
	t.buf = buf
	t.n += len(messages)
	return nil
}

// AppendEncoded appends one message that EncodeMessage wrote. It is not checked.
func (t *Transcript) AppendEncoded(message []byte) {
	if t.n > 0 {
		t.buf = append(t.buf, ',')
	}
	t.buf = append(t.buf, message...)
	t.n++
}

// Len returns how many messages there are.
func (t *Transcript) Len() int { return t.n }

// Bytes returns how many bytes they take on the wire.
func (t *Transcript) Bytes() int { return len(t.buf) }
