"""One HTML file that needs nothing else: it opens offline, prints, and follows a light or dark screen."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final

import pandas as pd

from jitkit.progress.chart import Chart, headings_of, rows_of

__all__ = ["answers", "details", "document", "found", "paragraph", "picture", "section", "table"]

_SHORT: Final = 24  # characters: a date, or a number with its range, stays on one line

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #565656; --paper: #ffffff; --line: #c9c9c9; --tile: #f4f4f4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ededed; --soft: #b5b5b5; --paper: #161616; --line: #4a4a4a; --tile: #242424; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.25rem 0 .5rem; }
.soft, figcaption { color: var(--soft); }
dl { margin: 1.25rem 0; display: grid; gap: .6rem; }
dl div { background: var(--tile); border: 1px solid var(--line); border-radius: .4rem; padding: .6rem .9rem; }
dt { font-size: .95rem; color: var(--soft); }
dd { margin: 0; font-size: 1.1rem; }
ul { padding-left: 1.2rem; }
li { margin: .5rem 0; }
.next { color: var(--soft); }
figure { margin: 1rem 0 .5rem; }
img { max-width: 100%; height: auto; background: #ffffff; border-radius: .4rem; padding: .25rem; }
figcaption { font-size: .9rem; }
.wide { overflow-x: auto; }
table { min-width: 26rem; border-collapse: collapse; margin: .75rem 0; font-size: .95rem; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; }
.short { white-space: nowrap; }
summary { cursor: pointer; margin: .5rem 0; }
@media print {
  :root { --ink: #000000; --soft: #333333; --paper: #ffffff; --line: #999999; --tile: #ffffff; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  h2 { break-after: avoid; }
  figure, tr, dl div, li { break-inside: avoid; }
  .wide { overflow: visible; }
  table { font-size: 9pt; break-inside: auto; }
  caption { break-inside: avoid; }
  caption, thead { break-after: avoid; }
  .short { white-space: normal; }
  th .short { white-space: nowrap; }
  details:not([open]) { display: none; }
}
"""


def document(title: str, subtitle: str, parts: Iterable[str]) -> str:
    """Put a page together.

    Args:
        title: the page's name and only first-level heading.
        subtitle: the line under it.
        parts: the sections, as HTML.
    """
    shown = html.escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{shown}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{shown}</h1>\n<p class="soft">{html.escape(subtitle)}</p>\n'
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def answers(pairs: Iterable[tuple[str, str]]) -> str:
    """Set questions and their answers below each other, in large type."""
    inner = "".join(f"<div><dt>{html.escape(asked)}</dt><dd>{html.escape(said)}</dd></div>" for asked, said in pairs)
    return f"<dl>{inner}</dl>"


def found(heading: str, items: Iterable[tuple[str, str, str]], otherwise: str) -> str:
    """List what stands out: what kind it is, what happened, and what to do next; or say why there is nothing."""
    rows = [
        f"<li><strong>{html.escape(kind)}</strong> {html.escape(words)}"
        + (f' <span class="next">Next: {html.escape(step)}</span>' if step else "")
        + "</li>"
        for kind, words, step in items
    ]
    if not rows:
        return section(heading, otherwise)
    return section(heading, "", f"<ul>{''.join(rows)}</ul>")


def paragraph(words: str) -> str:
    """Write a paragraph."""
    return f"<p>{html.escape(words)}</p>"


def section(heading: str, words: str, *parts: str) -> str:
    """Answer one question.

    Args:
        heading: the question.
        words: the answer in a sentence.
        parts: what shows it, as HTML.
    """
    name = "".join(letter for letter in heading.lower() if letter.isalnum())
    return (
        f'<section aria-labelledby="{name}">\n<h2 id="{name}">{html.escape(heading)}</h2>\n'
        + (paragraph(words) if words else "")
        + "\n".join(parts)
        + "\n</section>"
    )


def picture(chart: Chart, *, numbers: bool = True) -> str:
    """Show a chart with its words.

    Args:
        chart: the chart.
        numbers: whether its numbers are folded under it; not where a table of them follows anyway.
    """
    # The same words for the eye and for the ear, each once.
    words = html.escape(chart.alt)
    shown = (
        f'<figure><img src="{chart.source}" alt="{words}"><figcaption aria-hidden="true">{words}</figcaption></figure>'
    )
    return shown + (details("The numbers", table(chart.title, chart.data)) if numbers else "")


def details(summary: str, inner: str) -> str:
    """Fold something away; print leaves it out."""
    return f"<details><summary>{html.escape(summary)}</summary>{inner}</details>"


def table(caption: str, frame: pd.DataFrame) -> str:
    """Show a table whose first column names its rows."""
    kinds = [' class="number"' if pd.api.types.is_numeric_dtype(frame[name]) else "" for name in frame.columns]
    head = "".join(
        f'<th scope="col"{kind}>{html.escape(name)}</th>' for name, kind in zip(headings_of(frame), kinds, strict=True)
    )
    body = []
    for first, *rest in rows_of(frame):
        cells = "".join(f"<td{kind}>{_cell(cell)}</td>" for cell, kind in zip(rest, kinds[1:], strict=True))
        body.append(f'<tr><th scope="row"{kinds[0]}>{_cell(first)}</th>{cells}</tr>')
    return (
        f'<div class="wide"><table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _cell(text: str) -> str:
    shown = html.escape(text)
    return f'<span class="short">{shown}</span>' if len(text) <= _SHORT and not text.isalnum() else shown
