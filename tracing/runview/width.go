package runview

import (
	"strings"
	"unicode"
)

// Widths of the printable ASCII characters in hundredths of the font's size. They are those of a wide face (DejaVu Sans, regular
// and bold): whatever sans-serif a reader has, text takes no more room than was planned for it.
var (
	regular = [...]uint8{32, 41, 46, 84, 64, 96, 78, 28, 40, 40, 50, 84, 32, 37, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 34, 34, 84, 84, 84, 54, 100, 69, 69, 70, 77, 64, 58, 78, 76, 30, 30, 66, 56, 87, 75, 79, 61, 79, 70, 64, 62, 74, 69, 99, 69, 62, 69, 40, 34, 40, 84, 50, 50, 62, 64, 55, 64, 62, 36, 64, 64, 28, 28, 58, 28, 98, 64, 62, 64, 64, 42, 53, 40, 64, 60, 82, 60, 60, 53, 64, 34, 64, 84}
	bold    = [...]uint8{35, 46, 53, 84, 70, 101, 88, 31, 46, 46, 53, 84, 38, 42, 38, 37, 70, 70, 70, 70, 70, 70, 70, 70, 70, 70, 40, 40, 84, 84, 84, 58, 100, 78, 77, 74, 83, 69, 69, 83, 84, 38, 38, 78, 64, 100, 84, 85, 74, 85, 77, 73, 69, 82, 78, 111, 78, 73, 73, 46, 37, 46, 84, 50, 50, 68, 72, 60, 72, 68, 44, 72, 72, 35, 35, 67, 35, 105, 72, 69, 72, 72, 50, 60, 48, 72, 66, 93, 65, 66, 59, 72, 37, 72, 84}
)

func runeWidth(r rune, widths *[95]uint8) float64 {
	switch {
	case r >= ' ' && r <= '~':
		return float64(widths[r-' ']) / 100
	case r == '·':
		return 0.38
	case r == '–':
		return 0.56
	case r == '×' || r == '→':
		return 0.84
	case r == '…':
		return 1
	case unicode.Is(unicode.Mn, r):
		return 0.1
	case r < 0x1100:
		return 0.95
	}
	return 1.35 // ideographs, emoji, and whatever else a face may lack
}

// textWidth is an upper bound of how wide a text is drawn.
func textWidth(s string, size float64, isBold bool) float64 {
	widths := &regular
	if isBold {
		widths = &bold
	}
	var w float64
	for _, r := range s {
		w += runeWidth(r, widths)
	}
	return w * size
}

// fit shortens a text to a width, with an ellipsis. White space becomes single spaces, since a label is one line.
func fit(s string, width, size float64, isBold bool) string {
	if len(s) > textLimit {
		s = cut(s)
	}
	s = strings.Join(strings.Fields(s), " ")
	if textWidth(s, size, isBold) <= width {
		return s
	}
	widths := &regular
	if isBold {
		widths = &bold
	}
	left := width/size - 1 // the ellipsis
	for i, r := range s {
		left -= runeWidth(r, widths)
		if left < 0 {
			if i == 0 && width < size {
				return ""
			}
			return strings.TrimRight(s[:i], " ") + "…"
		}
	}
	return s
}
