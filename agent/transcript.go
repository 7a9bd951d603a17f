package agent

import (
	"context"

	"github.com/gridloop/gridloop/grid"
)

// transcript is the encoded history of a run, kept from step to step: each
// message is encoded once, when it is first sent.
type transcript struct {
	refs []*MessageRef
	enc  *grid.Transcript
}

// transcriptFor returns the encoded messages behind refs. With echo the fields
// that only the model which wrote them understands are sent along.
func (r *run) transcriptFor(ctx context.Context, refs []*MessageRef, echo bool) (*grid.Transcript, error) {
	t := &r.transcripts[0]
	if echo {
		t = &r.transcripts[1]
	}
	if t.enc == nil || !startsWith(refs, t.refs) {
		t.enc, t.refs = grid.NewTranscript(), nil
	}
	for _, ref := range refs[len(t.refs):] {
		if err := r.encode(ctx, t.enc, *ref, echo); err != nil {
			t.enc = nil
			return nil, err
		}
	}
	t.refs = refs
	return t.enc, nil
}

func (r *run) encode(ctx context.Context, t *grid.Transcript, ref MessageRef, echo bool) error {
	if ref.Inline == nil && !ref.Private {
		data, err := r.blobs.Get(ctx, ref.Hash)
		if err != nil {
			return err
		}
		t.AppendEncoded(data)
		return nil
	}
	m, err := r.load(ctx, ref)
	if err != nil {
		return err
	}
	if echo {
		m, _ = m.Mended()
	} else {
		m = m.Portable()
	}
	return t.Append(m)
}

func startsWith(refs, prefix []*MessageRef) bool {
	if len(prefix) > len(refs) {
		return false
	}
	for i := range prefix {
		if refs[i] == prefix[i] {
			continue
		}
		if refs[i].Hash != prefix[i].Hash || refs[i].Hash == "" && *refs[i].Inline != *prefix[i].Inline {
			return false
		}
	}
	return true
}

// trim leaves out the oldest turns, whole, until what is left has at most limit
// bytes: instructions and the first question stay, and every call keeps its
// answer. It returns how many messages it left out.
func trim(refs []*MessageRef, limit int) ([]*MessageRef, int) {
	total := 0
	for _, ref := range refs {
		total += refBytes(ref)
	}
	if total <= limit {
		return refs, 0
	}
	keep := 0
	for keep < len(refs) && refs[keep].Role != "assistant" {
		keep++
	}
	cut := keep
	for cut < len(refs)-1 && total > limit {
		total -= refBytes(refs[cut])
		cut++
		for cut < len(refs)-1 && refs[cut].Role == "tool" {
			total -= refBytes(refs[cut])
			cut++
		}
	}
	out := make([]*MessageRef, 0, keep+len(refs)-cut)
	return append(append(out, refs[:keep]...), refs[cut:]...), cut - keep
}

// refBytes is the encoded size of a message, with its share of the frame.
func refBytes(ref *MessageRef) int {
	if ref.Inline != nil {
		return 2*len(ref.Inline.Text) + len(ref.Inline.CallID) + 64 // escaping at its worst, for text of our own
	}
	return ref.Bytes + 1
}
