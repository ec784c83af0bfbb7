"""What all pages of the bench share: one style sheet, with nothing loaded from elsewhere.

Pages are light or dark as the reader prefers, and light in print. On a narrow screen a table row becomes a card, so
that nothing has to be scrolled sideways.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

__all__ = ["DARK", "LIGHT", "document", "figures", "meanings", "table"]

# s0 to s4 are the colours of series.
LIGHT: Final = {
    "bg": "#ffffff", "ink": "#1d2430", "soft": "#5b6573", "rule": "#d9dee5", "card": "#f6f8fa", "good": "#0a7d36",
    "bad": "#b42318", "s0": "#0b62c4", "s1": "#b35900", "s2": "#6f42c1", "s3": "#a8245b", "s4": "#5b6573",
}  # fmt: skip
DARK: Final = {
    "bg": "#11151b", "ink": "#e4e8ee", "soft": "#9aa5b3", "rule": "#2c343f", "card": "#191f27", "good": "#56d387",
    "bad": "#ff8f85", "s0": "#6cb4ff", "s1": "#f0a356", "s2": "#c3a0ff", "s3": "#ff8fb8", "s4": "#9aa5b3",
}  # fmt: skip


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


_STYLE: Final = (
    f"""
:root {{ color-scheme: light dark; {_variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}
@media print {{ :root {{ color-scheme: light; {_variables(LIGHT)} }} }}
"""
    + """
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 66rem; background: var(--bg); color: var(--ink);
  font: 15px/1.5 system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0 0 .4rem; font-size: 1.7rem; line-height: 1.2; }
h2 { margin: 2.4rem 0 .6rem; font-size: 1.2rem; } h3 { margin: 1.6rem 0 .4rem; font-size: 1rem; }
p, ul { margin: .4rem 0; } ul { padding-left: 1.2rem; }
code { font: .9em ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace; }
.lead { font-size: 1.1rem; } .dim, figcaption, .remark { color: var(--soft); }
.good { color: var(--good); } .bad { color: var(--bad); } b { font-weight: 650; }
table { border-collapse: collapse; width: 100%; margin: .4rem 0 1.4rem;
  font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { padding: .3rem .4rem; border-bottom: 1px solid var(--rule); text-align: right; vertical-align: baseline; }
th { color: var(--soft); font-weight: 600; } th, td { white-space: nowrap; overflow-wrap: normal; }
th:first-child, td:first-child, table.words th, table.words td { text-align: left; }
td:first-child, table.words td { white-space: normal; }
.n { white-space: nowrap; } .narrow { display: none; }
dl { display: grid; grid-template-columns: fit-content(15rem) 1fr; gap: .15rem 1rem; margin: .6rem 0; }
dt { color: var(--soft); } dd { margin: 0; }
.figures { columns: 2 25rem; column-gap: 1rem; }
figure { margin: 0 0 1rem; padding: .8rem; background: var(--card); border-radius: 8px; break-inside: avoid; }
figcaption { margin-bottom: .5rem; } svg { display: block; width: 100%; height: auto; }
@media screen and (max-width: 46rem) {
  body { padding-top: 1rem; }
  dl { display: block; } dd { margin: 0 0 .5rem; }
  .narrow { display: inline; } thead { display: none; } table, tbody, tr, td { display: block; }
  tr { padding: .5rem 0; border-bottom: 1px solid var(--rule); }
  td { border: 0; padding: .05rem 0; display: flex; justify-content: space-between; gap: 1rem; white-space: normal; }
  td:first-child { font-weight: 650; } td:empty { display: none; }
  td[data-head]:not(:first-child)::before { content: attr(data-head); color: var(--soft); }
  table.words td { display: block; } table.words td::before { display: none; }
}
@media print {
  @page { margin: 14mm; }
  body { max-width: none; padding: 0; font-size: 9.5pt; } table { font-size: 8.5pt; } th, td { padding: .15rem .3rem; }
  h2, h3 { break-after: avoid; } tr, li, dd { break-inside: avoid; } thead { display: table-header-group; }
  figure { border: 1px solid var(--rule); background: none; } .figures { columns: 2; }
}
"""
)


def document(title: str, body: str) -> str:
    """Return the whole page around `body`."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def figures(drawn: Iterable[tuple[str, str]]) -> str:
    """Return plots with captions, side by side if there is room. Plots that are "" are left out."""
    found = "".join(f"<figure><figcaption>{escape(words)}</figcaption>{svg}</figure>" for svg, words in drawn if svg)
    return found and f'<div class="figures">{found}</div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "numbers") -> str:
    """heads: words. rows: cells of HTML; the last cell of a short row spans the rest. kind: "numbers" or "words"."""
    body = ""
    for row in rows:
        spans = ["" for _ in row[1:]] + [f' colspan="{len(heads) - len(row) + 1}"' if len(row) < len(heads) else ""]
        cells = (
            f'<td{span} data-head="{escape(head, quote=True)}">{cell}</td>'
            for head, cell, span in zip(heads, row, spans, strict=False)
        )
        body += f"<tr>{''.join(cells)}</tr>"
    head = "".join(f"<th>{escape(head)}</th>" for head in heads)
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def meanings(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a list of names with their meanings."""
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(words)}</dd>' for name, words in pairs)}</dl>"
