"""What every page of the bench shares: its look, and nothing loaded from elsewhere."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

__all__ = ["DARK", "LIGHT", "document", "figure", "head_row"]

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
"""
    + """
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 62rem; background: var(--bg); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; } h2 { margin: 2.2rem 0 .6rem; font-size: 1.15rem; }
p, li { color: var(--soft); margin: .3rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } th:first-child, td:first-child { text-align: left; }
.good { color: var(--good); font-weight: 600; } .bad { color: var(--bad); font-weight: 600; }
.dim { color: var(--soft); }
figure { margin: .6rem 0; padding: .8rem; background: var(--card); border-radius: 8px; }
figcaption { color: var(--soft); margin-bottom: .4rem; }
svg { width: 100%; height: auto; }
"""
)


def document(title: str, body: str) -> str:
    """The whole page around `body`, light or dark as the reader prefers."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def figure(svg: str, caption: str) -> str:
    """A plot with a caption; "" where there is no plot."""
    return f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>" if svg else ""


def head_row(heads: Sequence[str]) -> str:
    """The head of a table."""
    return f"<thead><tr>{''.join(f'<th>{escape(head)}</th>' for head in heads)}</tr></thead>"
