"""The look of the report: light and dark, screen and paper, desk and phone."""

PALETTES = """
:root{color-scheme:light dark;--ink:#141a26;--soft:#566076;--line:#dfe4ec;--rule:#e9edf3;--paper:#f6f7fa;--card:#ffffff;
--wash:#f0f3f8;--c0:#667187;--c1:#2457c5;--c2:#b4500b;--c3:#0f766e;--c4:#7a3fd1;--c5:#b3246b;--c6:#4c6b12;
--good:#0b6b46;--good-wash:#e3f5ec;--even:#7a4a05;--even-wash:#fbf1dd;--bad:#a52a21;--bad-wash:#fcebe9;--heat:36 87 197;--miss:190 60 45;--for:214 58 48;--against:38 104 226;--hot-ink:#ffffff;--cool-ink:#141a26}
@media(prefers-color-scheme:dark){:root{--ink:#e9edf5;--soft:#a2adc1;--line:#2c3546;--rule:#242c3a;--paper:#0d1118;--card:#151b25;
--wash:#1c2431;--c0:#8d99ae;--c1:#82aaff;--c2:#f5a05a;--c3:#43cdb9;--c4:#bd9bfb;--c5:#f486b8;--c6:#b1d64f;
--good:#5fd3a0;--good-wash:#12291f;--even:#f0bf6b;--even-wash:#2c2213;--bad:#f5938a;--bad-wash:#31191a;--heat:130 170 255;--miss:245 147 138;--for:236 88 76;--against:84 146 255;--hot-ink:#0d1118;--cool-ink:#e9edf5}}
"""

TEXT = """
*{box-sizing:border-box}html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Noto Sans","Noto Color Emoji",sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1080px;margin:0 auto;padding:0 24px 72px}h1{font-size:clamp(1.65rem,4.2vw,2.5rem);line-height:1.15;letter-spacing:-.022em;margin:.15em 0 .25em;font-weight:680;overflow-wrap:anywhere}
h2{font-size:1.3rem;letter-spacing:-.012em;margin:0 0 .25em;font-weight:660}h3{font-size:.95rem;margin:1.7em 0 .6em;font-weight:640}
p{margin:.5em 0;max-width:72ch}.soft{color:var(--soft)}a{color:var(--c1)}small{font-size:.8rem}b{font-weight:640}
header{padding:34px 0 8px}.brand{display:flex;align-items:center;gap:.55em;color:var(--soft);font-size:.9rem;font-weight:560}
.brand svg{width:22px;height:22px}.brand path{fill:none;stroke:var(--c1);stroke-width:2.2;stroke-linecap:round}
nav{position:sticky;top:0;z-index:3;background:var(--paper);border-bottom:1px solid var(--line);margin:14px -24px 26px;padding:0 24px;overflow-x:auto;scrollbar-width:none}
nav ul{display:flex;gap:22px;list-style:none;margin:0;padding:0;white-space:nowrap}nav a{display:block;padding:11px 0;font-size:.88rem;color:var(--soft);text-decoration:none}
nav a:hover,nav a:focus{color:var(--ink);text-decoration:underline;text-underline-offset:.5em}:focus-visible{outline:2px solid var(--c1);outline-offset:2px}
section{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:26px 28px;margin:0 0 20px;scroll-margin-top:60px}
section>p.soft:first-of-type{margin-top:0;margin-bottom:1.1em}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
footer{color:var(--soft);font-size:.85rem;margin-top:30px}
"""

PARTS = """
.hero{display:grid;grid-template-columns:minmax(230px,auto) 1fr;gap:34px;align-items:start}
.big{font-size:clamp(2.9rem,8vw,4.3rem);line-height:1;font-weight:700;letter-spacing:-.04em;margin:.08em 0}
.hero.plain{grid-template-columns:1fr;gap:4px}.hero .what{font-weight:620}.hero ul{margin:0;padding:0;list-style:none}.hero li{padding:.45em 0 .45em 1.6em;border-bottom:1px solid var(--rule);position:relative;max-width:70ch}
.hero li:last-child{border:0}.hero li::before{content:"";position:absolute;left:.15em;top:1.02em;width:.5em;height:.5em;border-radius:50%;background:var(--c1)}
.hero li.bad::before{background:var(--bad)}.hero li.good::before{background:var(--good)}
.call{border-radius:10px;padding:.75em 1em;margin:1.2em 0 0;max-width:none}.call.bad{background:var(--bad-wash);color:var(--bad)}.call.good{background:var(--good-wash);color:var(--good)}.call.even{background:var(--even-wash);color:var(--even)}.hero .call{margin:0 0 .6em}
.chips{display:flex;flex-wrap:wrap;gap:8px;margin:.9em 0 0}.chip{background:var(--wash);border-radius:99px;padding:.2em .8em;font-size:.84rem;max-width:100%;overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));gap:10px;margin:1.5em 0 0}
.tile{background:var(--wash);border-radius:10px;padding:12px 14px}.tile b{display:block;font-size:1.25rem;letter-spacing:-.01em}.tile small{color:var(--soft);display:block;line-height:1.35}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:8px 40px;align-items:start}.two>*{min-width:0}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;width:100%}th,td{text-align:start;padding:.45em 1.1em .45em 0;border-bottom:1px solid var(--rule);vertical-align:top;overflow-wrap:break-word;max-width:44ch}
thead th{color:var(--soft);font-weight:560;font-size:.82rem;white-space:nowrap}tbody th{font-weight:inherit}.inputs td:last-child{width:38%}.inputs td{vertical-align:middle}.pairs th{color:var(--soft);white-space:nowrap;width:1%}.tried tbody th{overflow-wrap:anywhere}.num{text-align:end;white-space:nowrap}td:last-child,th:last-child{padding-right:0}
.commands{list-style:none;margin:0;padding:0}.commands p{margin:1em 0 .35em}pre{background:var(--wash);border-radius:9px;padding:.7em 1em;margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font:.86rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.option{white-space:nowrap}details{margin:1em 0 0}summary{cursor:pointer;color:var(--c1);font-size:.92rem;width:fit-content}
.warn{border-inline-start:3px solid var(--c2);padding:.15em 0 .15em .8em;margin:.6em 0;overflow-wrap:anywhere}
.badge{font-style:normal;font-size:.72rem;font-weight:620;border-radius:99px;padding:.1em .65em;background:var(--good-wash);color:var(--good);white-space:nowrap;margin-inline-start:.6em}
.badge.bad{background:var(--bad-wash);color:var(--bad)}
"""

CHARTS = """
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}.c6{--c:var(--c6)}
.whisker,.row{display:grid;grid-template-columns:minmax(150px,32%) 1fr 188px;gap:4px 18px;align-items:center;min-height:34px;font-size:.92rem}
.name{overflow-wrap:anywhere;line-height:1.3;padding-block:2px}.said{text-align:end;line-height:1.2;white-space:nowrap}.said small{display:inline-block;min-width:8.2em;color:var(--soft)}.track{position:relative;height:34px}
.track i{position:absolute;display:block}.rule{top:0;bottom:0;width:1px;background:var(--rule)}.reach{height:4px;top:15px;border-radius:4px;background:var(--c);opacity:.45;min-width:2px}
.spot{width:11px;height:11px;margin:-5.5px;top:17px;border-radius:50%;background:var(--c)}
.ring{width:13px;height:13px;margin:-6.5px;top:17px;border-radius:50%;border:1.5px solid var(--ink)}.foot{min-height:0}.scale{position:relative;height:1.5em;color:var(--soft);font-size:.78rem}.scale span{position:absolute;transform:translateX(-50%);white-space:nowrap}
.bar{background:var(--wash);border-radius:5px;height:12px;overflow:hidden}.bar i{display:block;height:100%;background:var(--c);border-radius:5px;min-width:1px}.row{grid-template-columns:min(var(--names),58%) 1fr var(--texts);min-height:28px}.bare .row{grid-template-columns:minmax(70px,1fr) var(--texts);min-height:0}.bare .name{display:none}
.patterned{display:flex;gap:.7em;align-items:baseline}.pattern{display:inline-grid;grid-auto-flow:column;gap:5px;flex:none;transform:translateY(1px)}.pattern.many{gap:3px}.pattern i{width:11px;height:11px;border-radius:50%;border:1.5px solid var(--c0);opacity:.5}.pattern.many i{width:8px;height:8px}.pattern i.on{background:var(--c);border-color:var(--c);opacity:1}.name small{white-space:nowrap}
.chart{margin:1.2em 0 0}.chart figcaption{font-size:.92rem;margin-bottom:.5em;display:flex;flex-wrap:wrap;gap:2px 16px}
.key{color:var(--soft);font-size:.85rem}.key::before{content:"";display:inline-block;width:14px;height:3px;border-radius:2px;background:var(--c);margin-inline-end:6px;vertical-align:middle}.key.faint::before{opacity:.35}.key.dashed::before{background:none;border-top:2px dashed var(--c);height:0}.key.dots::before,.key.both::before{width:8px;height:8px;border-radius:50%}
.axis{color:var(--soft);font-size:.78rem}.axis.end{text-align:end;margin-top:26px}.plot{position:relative;height:210px;margin:8px 10px 0 48px}.plot.square{height:auto;aspect-ratio:1;max-width:400px}
.plot svg{position:absolute;inset:0;width:100%;height:100%;overflow:visible}.tick{position:absolute;color:var(--soft);font-size:.76rem;white-space:nowrap}.tick.x{top:calc(100% + 6px);transform:translateX(-50%)}.tick.y{right:calc(100% + 9px);transform:translateY(-50%)}
svg path{fill:none;vector-effect:non-scaling-stroke}.grid{stroke:var(--rule);stroke-width:1}.line{stroke:var(--c);stroke-width:2;stroke-linejoin:round}.line.faint{opacity:.35;stroke-width:1}.line.dashed{stroke-dasharray:5 5;stroke-width:1.5}
.reaches{stroke:var(--c);stroke-width:2;opacity:.4}.dot{stroke:var(--c);stroke-width:8;stroke-linecap:round}.dot.dots{stroke-width:6;opacity:.6}.dot.tiny{stroke-width:3.5}.wave{stroke:var(--c);stroke-width:1.3}
.heat{border-spacing:2px;border-collapse:separate;width:auto;font-size:.8rem}.heat td{padding:0;text-align:center;min-width:34px;width:34px;height:34px;border:0;border-radius:5px;vertical-align:middle;color:var(--cool-ink);background:var(--wash)}
.heat td.hot{color:var(--hot-ink)}.heat td.none{color:transparent}.heat td.corner{background:none}.heat th{border:0;padding:0 8px 0 0;text-align:end;max-width:18em;vertical-align:middle;color:var(--ink);font-weight:450;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.heat thead th{vertical-align:bottom;padding:0 0 6px;text-align:center}.heat thead .turn{writing-mode:vertical-rl;transform:rotate(180deg);max-height:12em;margin:0 auto;overflow:hidden;text-overflow:ellipsis;text-align:start}
.heat tbody th{position:sticky;left:0;background:var(--card)}
"""

EXAMPLES = """
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:16px}.card{border:1px solid var(--line);border-radius:12px;overflow:hidden;display:flex;flex-direction:column;min-width:0;background:var(--card)}
.card header{padding:13px 15px 11px;border-bottom:1px solid var(--rule)}.card header div{display:grid;grid-template-columns:6.2em 1fr;gap:0 8px;font-size:.9rem;overflow-wrap:anywhere}.card header span{color:var(--soft)}
.card .wrong{color:var(--bad);font-weight:640}.card .right{color:var(--good);font-weight:640}.cell{padding:11px 15px}.cell+.cell{border-top:1px solid var(--rule)}
.cell h3{margin:0 0 .5em;font-size:.76rem;font-weight:560;color:var(--soft);overflow-wrap:anywhere}.cell img{display:block;max-width:100%;min-width:96px;max-height:220px;border-radius:7px;image-rendering:auto;background:var(--wash)}
.cell img.pixels{width:128px;image-rendering:pixelated}.cell audio{width:100%;height:38px;margin-top:6px}.small{width:100%;height:74px;display:block;overflow:visible}.cloud{width:100%;max-width:220px;display:block;background:var(--wash);border-radius:7px}
.cell blockquote{margin:0;font-size:.93rem;line-height:1.45;overflow-wrap:anywhere;max-height:11.6em;overflow-y:auto;white-space:pre-wrap}.absent{color:var(--soft);border:1px dashed var(--line);border-radius:7px;padding:.35em .7em;font-size:.85rem;width:fit-content}
.cards+details .cards{margin-top:16px}.card footer{margin:auto 0 0;padding:9px 15px;border-top:1px solid var(--rule);font-size:.78rem;overflow-wrap:anywhere}.card table{font-size:.84rem}
"""

WHY = """
.mark{background:var(--ink);opacity:.55}.keys{display:flex;flex-wrap:wrap;gap:2px 18px;margin:.45em 0 .8em}.stack{display:flex;gap:2px;height:22px;border-radius:6px;overflow:hidden;background:var(--wash);margin:.8em 0 0}
.stack i{background:var(--c);min-width:2px}.stack i.unknown{background:var(--wash);box-shadow:inset 0 0 0 1px var(--line);border-radius:0 6px 6px 0}.key.unknown{--c:var(--line)}.keys .key::before{width:10px;height:10px;border-radius:3px}
.for{--c:rgb(var(--for))}.against{--c:rgb(var(--against))}.signed .bar{position:relative;overflow:visible;height:14px;background:none}.signed .bar i{position:absolute;top:0;border-radius:3px}.signed .bar u{position:absolute;top:-7px;bottom:-7px;width:1px;background:var(--soft);opacity:.6}
.legend{display:flex;gap:.7em;align-items:center;color:var(--soft);font-size:.82rem;margin:.9em 0 0;flex-wrap:wrap}.legend i{width:clamp(60px,14vw,130px);height:10px;border-radius:5px;background:linear-gradient(90deg,rgb(var(--against)),rgb(var(--against)/.12) 48%,rgb(var(--for)/.12) 52%,rgb(var(--for)))}
.sight{display:flex;flex-wrap:wrap;gap:18px}.sight figure{margin:0;flex:1 1 150px;max-width:360px;min-width:0}.sight figcaption{color:var(--soft);font-size:.82rem;margin-bottom:.4em}
.layers{position:relative;border-radius:9px;overflow:hidden;background:var(--wash)}.layers img{display:block;width:100%}.layers img.pixels{image-rendering:pixelated}.layers img.heated{position:absolute;inset:0;height:100%}.layers.under img:first-child{filter:grayscale(1) brightness(.72) contrast(.8)}.strip{min-width:680px}
.lanes{margin:1em 0 0}.lanes audio{width:100%;height:38px;margin-bottom:8px}.lane{position:relative;height:58px;margin:0 0 4px;background:var(--wash);border-radius:6px;overflow:hidden}.lane.tall{height:112px}.lane.low{height:40px}.lane svg,.lane img{position:absolute;inset:0;height:100%;width:100%;display:block}.lane-name{color:var(--soft);font-size:.8rem;margin:7px 0 3px;overflow-wrap:anywhere}
.lane .line{stroke:var(--ink);stroke-width:1.4}.fill{fill:var(--c)}.lanes>.scale{height:1.6em;margin-top:2px}.lanes>.scale span:first-child{transform:none}.lanes>.scale span:last-child{transform:translateX(-100%)}
.lanes h3{font-size:.82rem;color:var(--soft);font-weight:560;margin:.9em 0 .35em}.words{font-size:1.06rem;line-height:2;max-width:none;white-space:pre-wrap;overflow-wrap:anywhere;max-height:34em;overflow-y:auto}.words span{border-radius:4px;padding:.12em .1em}
.cloud.big{max-width:420px;border-radius:9px}.cloud .s0{stroke:var(--c0);opacity:.4;stroke-width:3}.cloud .s1{stroke:var(--c);opacity:.5;stroke-width:4.5}.cloud .s2{stroke:var(--c);opacity:.8;stroke-width:6}.cloud .s3{stroke:var(--c);stroke-width:8}.checks{list-style:none;margin:1em 0 0;padding:0}.checks li{padding:.8em 0;border-bottom:1px solid var(--rule)}.checks li:last-child{border:0}.checks p{margin:.25em 0 0}
.badge.even{background:var(--even-wash);color:var(--even)}.small-multiples{display:grid;grid-template-columns:repeat(auto-fill,minmax(260px,1fr));gap:4px 28px}.small-multiples .plot{height:140px}
"""

FIND = """
.finds{grid-template-columns:repeat(auto-fit,minmax(230px,1fr));margin:0}.finds .tile{padding:15px 17px}.finds .tile>b{font-size:2.5rem;line-height:1.15;letter-spacing:-.03em;font-weight:700}.finds .track{height:26px;margin:2px 6px 6px}.finds .reach{top:11px}.finds .spot{top:13px}
.scale-line{left:0;right:0;top:12px;height:2px;border-radius:2px;background:var(--line)}.finds .rule.mark{top:4px;bottom:4px;width:2px}
.card header.place{display:flex;align-items:baseline;gap:.55em;font-size:.9rem;overflow-wrap:anywhere}.place .score{margin-inline-start:auto}.place .other{color:var(--soft);font-weight:450}.card.hit{border-color:var(--good);box-shadow:inset 0 3px 0 var(--good)}.card.asked{background:var(--wash);border-color:transparent}.card.asked header{border-color:var(--line)}
.search{display:grid;grid-template-columns:minmax(170px,22%) 1fr;gap:14px;align-items:start}.answers{display:grid;grid-template-columns:repeat(auto-fill,minmax(158px,1fr));gap:14px}.search .cell blockquote{font-size:.86rem}.search .cell img,.answers .cell img,.cards .cell img{min-width:min(100%,150px)}
.facts{display:flex;flex-wrap:wrap;gap:1px 1em;margin-top:.25em}.fact b{font-weight:560;color:var(--ink)}
"""

SMALL = """
@media(max-width:640px){main{padding:0 14px 48px}nav{margin-inline:-14px;padding:0 14px}section{padding:20px 16px;border-radius:12px}.hero{grid-template-columns:1fr;gap:16px}
.whisker{grid-template-columns:1fr auto;gap:0 10px;padding:7px 0 2px}.whisker .track,.whisker .scale{grid-column:1/-1;grid-row:2;margin:0 8px}.track{height:22px}.reach{top:9px}.spot,.ring{top:11px}.whisker .said small{min-width:0;margin-inline-start:.5em}
.patterned.many{flex-direction:column;gap:3px}.tiles{grid-template-columns:1fr 1fr}.tile{padding:10px 11px}.heat{border-spacing:1px}.heat td{min-width:25px;width:25px;height:25px;font-size:.72rem}.heat th{padding-inline-end:5px;max-width:9em}.heat thead .turn{max-height:9em}.inputs td:last-child{width:34%}.inputs thead th{white-space:normal}
.row{gap:4px 10px}.dotted .row{grid-template-columns:1fr auto;padding-bottom:6px}.dotted .bar{grid-area:2/1/3/-1;height:8px}.cards,.search{grid-template-columns:1fr}.answers{grid-template-columns:1fr 1fr;gap:10px}.search+h3{margin-top:2.2em}.finds{grid-template-columns:1fr}.plot{margin-left:42px;height:190px}}
@media print{nav{display:none}section{break-inside:avoid;border-color:#ccc}body{background:#fff}audio{display:none}}
@media(prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
"""

STYLE = "".join((PALETTES, TEXT, PARTS, CHARTS, EXAMPLES, WHY, FIND, SMALL))
