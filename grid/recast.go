package grid

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
)

// recast is an answer in one piece as the stream that existing code asked for: one
// event with all of it, and the mark of the end. What is no such answer is handed over
// as it is.
type recast struct {
	whole io.ReadCloser
	limit int64
	out   *bytes.Reader
}

func (r *recast) Read(p []byte) (int, error) {
	if r.out == nil {
		b, err := io.ReadAll(io.LimitReader(r.whole, r.limit+1))
		if err != nil {
			return 0, err
		}
		if int64(len(b)) > r.limit {
			return 0, ErrTooLarge
		}
		r.out = bytes.NewReader(asEvents(b))
	}
	return r.out.Read(p)
}

func (r *recast) Close() error { return r.whole.Close() }

func asEvents(b []byte) []byte {
	var top map[string]json.RawMessage
	var choices []map[string]json.RawMessage
	if json.Unmarshal(b, &top) != nil || json.Unmarshal(top["choices"], &choices) != nil {
		return b
	}
	for _, choice := range choices {
		choice["delta"] = indexed(choice["message"])
		delete(choice, "message")
	}
	var err error
	if top["choices"], err = json.Marshal(choices); err != nil {
		return b
	}
	top["object"] = json.RawMessage(`"chat.completion.chunk"`)
	event, err := json.Marshal(top)
	if err != nil {
		return b
	}
	return append(append([]byte("data: "), event...), "\n\ndata: [DONE]\n\n"...)
}

// indexed returns a message as a delta, in which calls have an index.
func indexed(message json.RawMessage) json.RawMessage {
	var m map[string]json.RawMessage
	var calls []map[string]json.RawMessage
	if json.Unmarshal(message, &m) != nil || m == nil {
		return json.RawMessage("{}")
	}
	if json.Unmarshal(m["tool_calls"], &calls) != nil || len(calls) == 0 {
		return message
	}
	for i, call := range calls {
		if call != nil {
			call["index"] = json.RawMessage(strconv.Itoa(i))
		}
	}
	var err error
	if m["tool_calls"], err = json.Marshal(calls); err != nil {
		return message
	}
	if out, err := json.Marshal(m); err == nil {
		return out
	}
	return message
}
