package grid

import (
	"net/http"
	"strings"
	"sync"
	"unicode"
)

// maxWordings bounds what a client remembers of refusals, maxDetail what is told of one.
const (
	maxWordings = 64
	maxDetail   = 200
)

// wordings are refusals that were told. The market's words for a dry balance are not
// documented, so that whoever runs a service should see each once, and may then name it
// in Config.DryTexts. It is safe for concurrent use.
type wordings struct {
	mu   sync.Mutex
	told map[string]bool
}

// fresh tells whether a wording was not told yet. Numbers in it make no other wording.
func (w *wordings) fresh(text string) bool {
	text = strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return '0'
		}
		return unicode.ToLower(r)
	}, text)
	for strings.Contains(text, "00") {
		text = strings.ReplaceAll(text, "00", "0")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told[text] || len(w.told) >= maxWordings {
		return false
	}
	if w.told == nil {
		w.told = make(map[string]bool)
	}
	w.told[text] = true
	return true
}

// understood tells whether the words of a 402 or 503 say what they mean, or are those
// that the market documents.
func (k *call) understood(f fault) bool {
	for _, t := range k.client.dryTexts {
		if f.says(strings.ToLower(t.Contains)) || f.is(strings.ToLower(t.Contains)) {
			return true
		}
	}
	return f.foreign || f.exhausted() || f.replenishing() ||
		f.says("insufficient usd balance, or no token capacity", "insufficient balance")
}

// unseen tells the watcher of a refusal whose words are new.
func (k *call) unseen(f fault, status, hop int, class Class) {
	if status != http.StatusPaymentRequired && status != http.StatusServiceUnavailable ||
		hop > 1 || k.req.Notify == nil || k.lane == nil || k.understood(f) || !k.client.wordings.fresh(f.message) {
		return
	}
	text := f.message
	if len(text) > maxDetail {
		text = clipped(text, maxDetail-len(ellipsis))
	}
	k.notify(NoticeUnknownDetail, Notice{Instrument: k.req.Instrument, Attempt: k.attempts, Waited: k.waited, Status: status, Class: class, Detail: text})
}
