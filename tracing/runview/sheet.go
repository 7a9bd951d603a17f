package runview

// pageShapes is what the page adds to the style of its pictures.
const pageShapes = `:root{color-scheme:light dark}
*{box-sizing:border-box}
body{margin:0 auto;padding:28px 24px 64px;max-width:1170px;font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
h1{font-size:24px;line-height:1.2;margin:0 0 4px;font-weight:650;letter-spacing:-.01em}
h2{display:flex;flex-wrap:wrap;align-items:center;gap:10px;font-size:18px;line-height:1.3;margin:0 0 2px;font-weight:650;overflow-wrap:anywhere}
p{margin:0 0 6px;overflow-wrap:anywhere}
header{margin-bottom:20px}header .key{max-width:100%;height:auto}
section{border:1px solid;border-radius:12px;margin:20px 0;padding:18px 0 6px;overflow:hidden}
section>h2,section>p,section>dl{margin-left:18px;margin-right:18px}
.mark{flex:none;vertical-align:-3px}
.pill{font-size:12px;font-weight:600;border:1px solid currentColor;border-radius:99px;padding:1px 10px}
dl{display:flex;flex-wrap:wrap;gap:10px 34px;margin-top:12px;margin-bottom:12px}
dt{font-size:11.5px}dd{margin:0}dd b{font-size:17px;font-weight:650;margin-right:7px}dd span{font-size:12px}
figure{margin:0;overflow-x:auto}figure svg{display:block}
summary{cursor:pointer;padding:8px 18px;font-size:13px}summary b{margin-right:10px;font-weight:600}summary em{font-style:normal;margin-left:10px}
details.part,details.words,details.sub{border-top:1px solid}details.sub>figure{margin-left:0}
.scroll{overflow-x:auto;padding:0 18px 14px}
table{border-collapse:collapse;font-size:12.5px;width:100%}th,td{text-align:left;padding:4px 18px 4px 0;border-bottom:1px solid;vertical-align:top;white-space:nowrap}
th{font-weight:600;font-size:11.5px}td.n,th.n{text-align:right}td.inner{padding-left:16px}
td details summary{padding:0;font-size:11.5px}pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:4px 0;padding:8px;border-radius:6px;font:11.5px/1.45 ui-monospace,"SF Mono",Menlo,Consolas,monospace;max-width:640px;max-height:320px;overflow:auto}
nav{overflow-x:auto}
`

var pageLooks = []look{
	{"body", "background:#f3f5f8;color:#1c2530", "background:#0b0f14;color:#dde4ec"},
	{"section", "background:#fff;border-color:#dfe4ea", "background:#12171d;border-color:#2a323c"},
	{"p.dim,dt,dd span,summary span,th", "color:#5d6b7b", "color:#8d9aa9"},
	{"a", "color:#0b69a8", "color:#5ab4ec"},
	{"th,td,details.part,details.words,details.sub", "border-color:#e3e8ee", "border-color:#262e38"},
	{"summary em", "color:#8a5600", "color:#efba4c"},
	{"summary:hover", "background:#f5f7fa", "background:#181e26"},
	{"pre", "background:#f3f5f8", "background:#0b0f14"},
}
