package runview

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// markup writes elements. Text and attribute values go through escape and nothing else does, so foreign text can stand in
// a page and never become a part of it.
type markup struct {
	strings.Builder
}

// open writes a start tag; pairs are names and values of attributes. Values that are "" are left out.
func (m *markup) open(tag string, pairs ...string) {
	m.tag(tag, pairs)
	m.WriteByte('>')
}

func (m *markup) close(tag string) {
	m.WriteString("</")
	m.WriteString(tag)
	m.WriteByte('>')
}

// leaf writes an element without content. XML, which SVG is, wants the slash; HTML allows it there.
func (m *markup) leaf(tag string, pairs ...string) {
	m.tag(tag, pairs)
	m.WriteString("/>")
}

func (m *markup) tag(tag string, pairs []string) {
	m.WriteByte('<')
	m.WriteString(tag)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		m.WriteByte(' ')
		m.WriteString(pairs[i])
		m.WriteString(`="`)
		m.WriteString(escape(pairs[i+1]))
		m.WriteByte('"')
	}
}

// element writes one with text in it.
func (m *markup) element(tag, text string, pairs ...string) {
	m.open(tag, pairs...)
	m.WriteString(escape(text))
	m.close(tag)
}

// escape makes foreign text harmless in HTML and XML, in text and in quoted attributes: markup is escaped; what XML forbids,
// and what reorders or hides the text around it, becomes a replacement character.
func escape(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune(`&<>"'`+"`", r) }) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '"':
			b.WriteString("&#34;")
		case r == '\'':
			b.WriteString("&#39;")
		case r == '`':
			b.WriteString("&#96;")
		case r == '\n' || r == '\t':
			b.WriteRune(r)
		case r == utf8.RuneError || unicode.IsControl(r) || unseen(r):
			b.WriteRune(utf8.RuneError)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unseen runes change what others look like: bidi controls, tags, separators, non-characters.
func unseen(r rune) bool {
	return r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x206f || r == 0xfeff || r == 0x61c ||
		r >= 0xfff0 && r <= 0xfffb || r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef || r >= 0xe0000 && r <= 0xe0fff
}

// number writes a coordinate with at most one decimal, which is finer than a screen.
func number(f float64) string {
	s := strconv.FormatFloat(f, 'f', 1, 64)
	s = strings.TrimSuffix(s, ".0")
	if s == "-0" {
		return "0"
	}
	return s
}
