package runview

import "strings"

// shapes is the part of the style that does not depend on the light.
const shapes = `text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
.head{font-size:17px;font-weight:600}.name{font-size:12.5px;font-weight:600}.body{font-size:12px}.note{font-size:10.5px}.tiny{font-size:10px}.flag{font-size:10px;font-weight:600}
.solid{fill:currentColor}.outline{fill:none;stroke:currentColor;stroke-width:1.5}.cut{fill:none;stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}
.bar{fill:currentColor;stroke:currentColor;stroke-width:1}.standard{fill-opacity:.25}.prime{fill-opacity:.62}.max{fill-opacity:1}.plain{fill-opacity:.55;stroke:none}
.track{fill:currentColor;fill-opacity:.13}.bracket{fill:none;stroke-width:1.2}.pause{fill:none;stroke-width:1.4;stroke-dasharray:2 3}
.grid,.rule,.guide,.tear,.first,.limitline{fill:none;stroke-width:1}.first{stroke-width:1.6}.limitline{stroke-width:2}.hit{fill-opacity:0}.row:hover>.hit{fill-opacity:.07}.halo{paint-order:stroke;stroke-width:3px;stroke-linejoin:round}
`

// look gives a class its colours, by light and by dark.
type look struct{ class, light, dark string }

// Families differ by hue and by the shape of their mark, tiers by filling, trouble by pattern: nothing is said by colour alone.
// The hues are those that stay apart for colour-blind readers (Okabe and Ito), darkened or lightened to be read.
var looks = []look{
	{"text", "fill:#1c2530", "fill:#dde4ec"},
	{".dim", "fill:#5d6b7b", "fill:#8d9aa9"},
	{".card", "fill:#fff;stroke:#dfe4ea", "fill:#12171d;stroke:#2a323c"},
	{".stripe", "fill:#f5f7fa", "fill:#181e26"},
	{".grid", "stroke:#e6eaf0", "stroke:#232b35"},
	{".rule", "stroke:#d5dbe3", "stroke:#323c48"},
	{".guide", "stroke:#c3ccd6", "stroke:#3c4754"},
	{".gap", "fill:#eceff4;fill-opacity:.8", "fill:#1d242d;fill-opacity:.8"},
	{".tear", "stroke:#b9c3ce", "stroke:#46525f"},
	{".hit", "fill:#31506f", "fill:#9cc3ea"},
	{".halo", "stroke:#fff", "stroke:#12171d"},
	{".text", "color:#0b69a8", "color:#5ab4ec"},
	{".code", "color:#087f5f", "color:#35c79c"},
	{".agent", "color:#9d3f83", "color:#df8fc8"},
	{".other,.tools,.idle", "color:#66758a", "color:#8c9bad"},
	{".failed", "color:#c2410c", "color:#ff8a5b"},
	{".limit,.paused", "color:#a86a00", "color:#eeb641"},
	{".done", "color:#1f7a4d", "color:#4cc38a"},
	{".bad", "fill:#b93a0a", "fill:#ff9166"},
	{".late", "fill:#8a5600", "fill:#efba4c"},
	{".cut", "stroke:#fff", "stroke:#12171d"},
	{".hole", "fill:#fff", "fill:#12171d"},
	{".first", "stroke:#fff", "stroke:#12171d"},
	{".refused", "fill:url(#hatch);stroke:#c2410c", "fill:url(#hatch);stroke:#ff8a5b"},
	{".hatchline", "stroke:#c2410c", "stroke:#ff8a5b"},
	{".hatchground", "fill:#fde8dd", "fill:#46251a"},
	{".wait", "fill:url(#dots);stroke:#c08a1e", "fill:url(#dots);stroke:#b98a2c"},
	{".dot", "fill:#c08a1e", "fill:#d9a53b"},
	{".dotground", "fill:#fdf2d9", "fill:#3a2e14"},
	{".bracket", "stroke:#8592a3", "stroke:#6d7b8c"},
	{".pause", "stroke:#66758a", "stroke:#8c9bad"},
	{".limitline", "stroke:#a86a00", "stroke:#eeb641"},
	{".trough", "fill:#e4e8ee", "fill:#2a323c"},
	{".gauge", "fill:#5f7d9c", "fill:#7f9fc0"},
	{".low", "fill:#c2410c", "fill:#ff8a5b"},
	{".area", "fill:#5f7d9c;fill-opacity:.16", "fill:#7f9fc0;fill-opacity:.2"},
	{".curve", "fill:none;stroke:#4f6d8c;stroke-width:1.5", "fill:none;stroke:#8fb0d2;stroke-width:1.5"},
}

// style is the sheet of a picture; more is added in both lights.
func style(more ...look) string {
	var b, dark strings.Builder
	b.WriteString(shapes)
	for _, l := range append(looks[:len(looks):len(looks)], more...) {
		b.WriteString(l.class + "{" + l.light + "}")
		dark.WriteString(l.class + "{" + l.dark + "}")
	}
	b.WriteString("\n@media(prefers-color-scheme:dark){" + dark.String() + "}\n")
	return b.String()
}

// patterns are what refused attempts and waits are filled with. A document has them once.
func (c *canvas) patterns() {
	c.open("defs")
	c.open("pattern", "id", "hatch", "width", "5", "height", "5", "patternUnits", "userSpaceOnUse", "patternTransform", "rotate(45)")
	c.leaf("rect", "class", "hatchground", "width", "5", "height", "5")
	c.leaf("path", "class", "hatchline", "d", "M1.2 0V5", "stroke-width", "1.8")
	c.close("pattern")
	c.open("pattern", "id", "dots", "width", "6", "height", "6", "patternUnits", "userSpaceOnUse")
	c.leaf("rect", "class", "dotground", "width", "6", "height", "6")
	c.leaf("circle", "class", "dot", "cx", "3", "cy", "3", "r", "1")
	c.close("pattern")
	c.close("defs")
}
