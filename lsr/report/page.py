"""The page around the sections: its style for light and dark screens, and the script of sliders."""

from lsr.report.markup import text

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --card: #f4f5f7; --ink: #1b1b1b; --quiet: #555;
  --rule: #d4d7dc; --link: #0a58a8; --good: #0b6b3a; --bad: #b00020; --mark: #1b1b1b;
  --c0: #0072b2; --c1: #b84a00; --c2: #00734f; --c3: #a33d7a; --c4: #7a5a00; --c5: #3f57b5; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --card: #212429; --ink: #ececec;
  --quiet: #b4b8be; --rule: #3d424a; --link: #8ab8ff; --good: #63d297; --bad: #ff8a8a;
  --mark: #ececec; --c0: #56b4e9; --c1: #ff9a52; --c2: #35c99b; --c3: #e79ac6; --c4: #e6b422;
  --c5: #a3b1ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 80rem; padding: 0 1rem 3rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
a { color: var(--link); }
h1 { font-size: 1.5rem; margin: 1.2rem 0 .4rem; } h2 { font-size: 1.3rem; margin: 2.2rem 0 .6rem;
  border-bottom: 1px solid var(--rule); } h3 { font-size: 1.1rem; margin: 1.4rem 0 .5rem; }
h4 { font-size: .95rem; margin: .4rem 0; font-weight: 600; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; } .skip:focus { position: static; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; list-style: none; }
.quiet, figcaption, caption { color: var(--quiet); font-size: .9rem; }
.verdict { font-size: 1.6rem; font-weight: 600; line-height: 1.25; margin: .4rem 0 .6rem;
  padding-left: .8rem; border-left: .35rem solid var(--quiet); }
.verdict.good { border-color: var(--good); color: var(--good); }
.verdict.bad { border-color: var(--bad); color: var(--bad); }
.notices { border: 2px solid var(--bad); border-radius: .4rem; padding: .2rem 1rem; }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill,
  minmax(min(100%, 22rem), 1fr)); }
.charts > div { background: var(--card); border-radius: .4rem; padding: .5rem .7rem; min-width: 0; }
figure { margin: 0; } .chart svg[role] { display: block; width: 100%; height: auto; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; padding: 0; margin: .3rem 0;
  list-style: none; } .legend svg { margin-right: .4rem; vertical-align: middle; }
svg text { fill: var(--quiet); font-size: 12px; } svg .x { text-anchor: middle; }
svg .y { text-anchor: end; dominant-baseline: middle; }
svg path { fill: none; } .grid { stroke: var(--rule); stroke-width: .7; }
.axis, .tick { stroke: var(--quiet); }
.line path { stroke: var(--line); stroke-width: 2; stroke-linejoin: round; }
.line circle { fill: var(--line); } .line.thin path { stroke-width: .9; }
.knee { stroke: var(--mark); stroke-width: 2; } .confirmed { stroke: var(--mark);
  stroke-dasharray: 2 3; } .candidate { stroke: var(--mark); stroke-width: 1.5;
  stroke-dasharray: 7 4; } .diverged { stroke: var(--bad); stroke-width: 2.5; }
.border { stroke: var(--quiet); stroke-dasharray: 4 3; } .limit { stroke: var(--bad);
  stroke-width: 1.2; stroke-dasharray: 5 2; } .interval { fill: var(--mark); opacity: .13; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .9rem; margin: .5rem 0;
  overflow-wrap: break-word; }
caption { text-align: left; padding-bottom: .2rem; }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--rule);
  vertical-align: top; min-width: 3.5rem; max-width: 28rem; } tbody th { font-weight: 400; }
td:not(.number) { min-width: 9rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
dl { margin: .3rem 0; } dt { font-weight: 600; margin-top: .5rem; } dd { margin: 0 0 0 1rem; }
pre { background: var(--card); padding: .7rem; font-size: .85rem; max-height: 40rem;
  overflow: auto; }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--link); padding: .25rem 0; }
.scroll > img { display: block; max-width: 100%; height: auto; }
.steps .scroll > img { max-width: none; width: max(100%, 36rem); }
.steps label { display: flex; gap: .7rem; align-items: center; flex-wrap: wrap; }
.steps label[hidden], .steps figure[hidden] { display: none; }
.steps input { flex: 1 1 14rem; min-height: 2rem; }
"""

_SCRIPT = """
for (const steps of document.querySelectorAll(".steps")) {
  const slider = steps.querySelector("input"), output = steps.querySelector("output");
  const figures = [...steps.querySelectorAll("figure")];
  const show = () => {
    figures.forEach((figure, i) => { figure.hidden = i !== Number(slider.value); });
    const step = figures[slider.value].dataset.step;
    output.textContent = step;
    slider.setAttribute("aria-valuetext", step);
  };
  slider.max = figures.length - 1;
  slider.value = slider.max;
  slider.oninput = show;
  slider.parentElement.hidden = false;
  show();
}
"""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What a browser lets the page load: nothing from anywhere."""


def page(title: str, introduction: str, sections: list[tuple[str, str, str]]) -> str:
    """Return the page.

    Args:
        title: Its title.
        introduction: Text below the title.
        sections: Anchor, heading and content of each section, the verdict first.
    """
    links = "".join(f'<li><a href="#{name}">{text(words)}</a></li>' for name, words, _ in sections)
    content = "".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}">{text(words)}</h2>{inner}</section>'
        for name, words, inner in sections
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#{sections[0][0]}">Skip to the verdict</a>\n'
        f'<header><h1>{text(title)}</h1><p class="quiet">{text(introduction)}</p>'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
        f"<main>{content}</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )
