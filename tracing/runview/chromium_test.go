package runview

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// browser is a real Chromium without a window. It is asked for by name only, and has no network to reach.
type browser struct{ path string }

func chromium(t *testing.T) browser {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return browser{path}
		}
	}
	if os.Getenv("GRIDLOOP_REQUIRE") != "" {
		t.Fatal("there is no chromium, and GRIDLOOP_REQUIRE is set: install the package chromium")
	}
	t.Skip("there is no chromium: install the package chromium to see the pages rendered")
	return browser{}
}

// show runs the browser on a page and gives what it printed, and what its console said.
func (b browser) show(t *testing.T, page []byte, flags ...string) (printed, console string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "runview")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir) // what the browser still holds on to stays
	file := filepath.Join(dir, "page.html")
	if err := os.WriteFile(file, page, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
		"--enable-logging=stderr", "--v=0", "--user-data-dir=" + filepath.Join(dir, "profile")}, flags...)
	cmd := exec.CommandContext(ctx, b.path, append(args, "file://"+file)...)
	cmd.WaitDelay = 5 * time.Second
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("chromium: %v\n%s", err, log.String())
	}
	var said []string
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "CONSOLE") {
			said = append(said, line)
		}
	}
	return out.String(), strings.Join(said, "")
}

const darkScheme, lightScheme = "--blink-settings=preferredColorScheme=0", "--blink-settings=preferredColorScheme=1"

func (b browser) screenshot(t *testing.T, page []byte, flags ...string) (image.Image, string) {
	t.Helper()
	shot := filepath.Join(t.TempDir(), "page.png")
	if dir := os.Getenv("GRIDLOOP_SCREENSHOTS"); dir != "" { // to be looked at
		shot = filepath.Join(dir, regexp.MustCompile(`\W+`).ReplaceAllString(t.Name(), "-")+".png")
	}
	_, console := b.show(t, page, append(flags, "--window-size=1200,1600", "--screenshot="+shot)...)
	f, err := os.Open(shot)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return img, console
}

func light(c color.Color) float64 {
	r, g, b, _ := c.RGBA()
	return (0.2126*float64(r) + 0.7152*float64(g) + 0.0722*float64(b)) / 65535
}

func TestPagesRenderInLightAndDark(t *testing.T) {
	b := chromium(t)
	for _, scheme := range []struct {
		name, flag string
		dark       bool
	}{{"light", lightScheme, false}, {"dark", darkScheme, true}} {
		for _, row := range []struct {
			name   string
			record func(*testing.T) *Exporter
			colors int
		}{
			{"5 steps", func(t *testing.T) *Exporter { return recordedDesk(t) }, 200},
			{"200 steps", func(t *testing.T) *Exporter { return recordedLong(t, 200) }, 200},
		} {
			t.Run(row.name+" "+scheme.name, func(t *testing.T) {
				img, console := b.screenshot(t, html(t, row.record(t)), scheme.flag)
				if console != "" {
					t.Errorf("the console says:\n%s", console)
				}
				size := img.Bounds()
				colors := map[color.Color]int{}
				for y := size.Min.Y; y < size.Max.Y; y += 2 {
					for x := size.Min.X; x < size.Max.X; x += 2 {
						colors[img.At(x, y)]++
					}
				}
				if len(colors) < row.colors {
					t.Errorf("%d colours: the page is (nearly) blank", len(colors))
				}
				if ground := light(img.At(4, 4)); scheme.dark != (ground < 0.2) || !scheme.dark && ground < 0.8 {
					t.Errorf("the ground has lightness %.2f", ground)
				}
			})
		}
	}
}

// measure is run in a copy of the page that lost its policy. It opens all that is folded, takes the boxes that the browser gave to texts,
// and writes down which of them meet or leave their picture.
const measure = `<script>
for (const d of document.querySelectorAll('details')) d.open = true;
const found = [];
let seen = 0;
function check(boxes, frame) {
  seen += boxes.length;
  boxes.sort((a, b) => a.r.top - b.r.top);
  for (let i = 0; i < boxes.length; i++) {
    const a = boxes[i];
    if (frame && (a.r.left < frame.left - 1 || a.r.right > frame.right + 1 || a.r.top < frame.top - 1 || a.r.bottom > frame.bottom + 1)) found.push(a.s + ' leaves its picture');
    for (let j = i + 1; j < boxes.length && boxes[j].r.top < a.r.bottom - 0.5; j++) {
      const b = boxes[j];
      if (a.r.left < b.r.right - 0.5 && b.r.left < a.r.right - 0.5) found.push(a.s + ' | ' + b.s);
    }
  }
}
for (const svg of document.querySelectorAll('svg'))
  check([...svg.querySelectorAll('text')].map(e => ({s: e.textContent, r: e.getBoundingClientRect()})), svg.getBoundingClientRect());
const texts = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let n; n = walk.nextNode();) {
  if (n.parentElement.closest('svg,script,pre') || !n.data.trim()) continue;
  const range = document.createRange();
  range.selectNodeContents(n);
  for (const r of range.getClientRects()) texts.push({s: n.data, r: r});
}
check(texts, null);
const out = document.createElement('output');
out.textContent = JSON.stringify({seen: seen, found: found.slice(0, 20)});
document.body.append(out);
</script>`

type measured struct {
	Seen  int      `json:"seen"`
	Found []string `json:"found"`
}

func (b browser) measure(t *testing.T, page []byte) measured {
	t.Helper()
	bare := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy"[^>]*>`).ReplaceAll(page, nil)
	if len(bare) == len(page) {
		t.Fatal("the page has no policy")
	}
	bare = bytes.Replace(bare, []byte("</body>"), []byte(measure+"</body>"), 1)
	dom, _ := b.show(t, bare, "--window-size=1200,1000", "--virtual-time-budget=5000", "--dump-dom")
	_, rest, ok := strings.Cut(dom, "<output>")
	if !ok {
		t.Fatal("the page was not measured")
	}
	text, _, _ := strings.Cut(rest, "</output>")
	var m measured
	if err := json.Unmarshal([]byte(strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(text)), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestInABrowserNoTextLiesOnAnother(t *testing.T) {
	b := chromium(t)
	for _, row := range []struct {
		name   string
		record func(*testing.T) *Exporter
		least  int
	}{
		{"5 steps", func(t *testing.T) *Exporter { return recordedDesk(t) }, 100},
		{"200 steps", func(t *testing.T) *Exporter { return recordedLong(t, 200) }, 3000},
		{"runs of every kind", recordedFamily, 500},
		{"many failures", recordedStorm, 100},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := b.measure(t, html(t, row.record(t)))
			if m.Seen < row.least {
				t.Errorf("%d texts were measured, want at least %d", m.Seen, row.least)
			}
			for _, s := range m.Found {
				t.Error(s)
			}
		})
	}
	t.Run("the measuring finds what is wrong", func(t *testing.T) {
		page := bytes.Replace(html(t, recordedDesk(t)), []byte(`<text class="name" `), []byte(`<text class="name" dx="40" `), 1)
		page = bytes.Replace(page, []byte("</body>"), []byte(`<svg width="90" height="20"><text y="10">one</text><text x="9" y="12">two</text></svg></body>`), 1)
		if m := b.measure(t, page); len(m.Found) == 0 {
			t.Error("two texts on each other were not found")
		}
	})
}

func TestInABrowserHostileTextDoesNothing(t *testing.T) {
	b := chromium(t)
	page := html(t, recordedHostile(t, nasty))
	dom, console := b.show(t, page, "--dump-dom")
	if console != "" {
		t.Errorf("the console says:\n%s", console)
	}
	for _, bad := range []string{"<script", "data-owned", "<img", "<svg onload"} {
		if strings.Contains(dom, bad) {
			t.Errorf("the document holds %s", bad)
		}
	}
	// Escaping alone holds, too.
	bare := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy"[^>]*>`).ReplaceAll(page, nil)
	if dom, _ := b.show(t, bare, "--dump-dom"); strings.Contains(dom, "data-owned") {
		t.Error("without the policy the page was taken over")
	}
}

// TestInABrowserThePolicyHolds also proves that the other tests would hear of a page that breaks it.
func TestInABrowserThePolicyHolds(t *testing.T) {
	b := chromium(t)
	breaches := `<script>document.documentElement.dataset.owned=1</script><style>body{display:none}</style>
<img alt="x" src="https://example.com/pixel.gif" onerror="document.documentElement.dataset.owned=1"><iframe src="https://example.com/"></iframe>`
	page := bytes.Replace(html(t, recordedDesk(t)), []byte("</body>"), []byte(breaches+"</body>"), 1)
	dom, console := b.show(t, page, "--dump-dom")
	if strings.Contains(dom, "data-owned") {
		t.Error("a script ran")
	}
	for _, want := range []string{"script", "style", "image", "fram"} {
		if !regexp.MustCompile(`(?i)\b` + want + `\w*.*Content Security Policy`).MatchString(console) {
			t.Errorf("the console tells of no breach by %s:\n%s", want, console)
		}
	}
}
