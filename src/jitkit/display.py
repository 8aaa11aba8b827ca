"""Results as small accessible tables, with what was sent folded under them."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Card", "Sent", "Table", "figure", "fold"]

_CELL = "text-align:left;vertical-align:top;padding:0.3em 0.5em"
_SHORT = 16  # characters: `1,234 ms` and `Your endpoint` stay on one line
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?( UTC)?")  # stays on one line as well
_MANY = 5  # columns from which on a table may be wider than its page
_LONG = 28  # characters without a blank: an address may break, so that the table fits its page


@dataclass(frozen=True)
class Sent:
    """One request as it went to Microsoft Graph, without secrets; the body is indented JSON."""

    method: str
    url: str
    body: str | None = None
    status: int | None = None

    def __str__(self) -> str:
        answered = "no answer" if self.status is None else str(self.status)
        return f"{self.method} {self.url}\n{self.body or ''}".rstrip() + f"\n-> {answered}"


@dataclass(frozen=True, kw_only=True)
class Card:
    """One object of the tenant and what happened to it."""

    title: str
    status: str = "read"  # or another word: created, reused, updated, removed, missing …
    facts: Mapping[str, str] = field(default_factory=dict)  # label to value, in the order to show them
    sent: tuple[Sent, ...] = field(default=(), repr=False)  # the requests behind it

    def __init_subclass__(cls) -> None:
        # A dataclass makes its own repr unless the class has one: every card keeps its one line.
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = Card.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        return f"<{self.title}: {self.status}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th scope="row" style="{_CELL};white-space:nowrap">{html.escape(label)}</th>{_cell(value)}</tr>'
            for label, value in self.facts.items()
        )
        caption = f"{html.escape(self.title)}: <strong>{html.escape(self.status)}</strong>"
        if not rows:  # a screen reader would announce a table and then have nothing to read
            return f"<p>{caption}</p>{_sent(self.sent)}"
        return f"<table>{_caption(caption)}<tbody>{rows}</tbody></table>{_sent(self.sent)}"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under named columns."""

    caption: str  # what the table answers
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""  # a sentence under the table
    sent: tuple[Sent, ...] = field(default=(), repr=False)  # the requests behind it

    def __repr__(self) -> str:
        return f"<{self.caption}: {len(self.rows)} rows>"

    def _repr_html_(self) -> str:
        note = f"<p>{_text(self.note)}</p>" if self.note else ""
        return f"{self._grid()}{note}{_sent(self.sent)}"

    def _grid(self) -> str:
        caption = html.escape(self.caption)
        if not self.rows:
            # A screen reader would announce a table and then have nothing to read.
            return f"<p>{caption}{' Nothing' if caption.endswith('?') else ': nothing'}.</p>"
        head = "".join(f'<th scope="col" style="{_style(name)}">{html.escape(name)}</th>' for name in self.columns)
        body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in self.rows)
        table = f"<table>{_caption(caption)}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        if len(self.columns) < _MANY:
            return table
        # Where the window is narrow, a keyboard has to be able to move it sideways.
        return f'<div role="region" aria-label="{caption}" tabindex="0" style="overflow-x:auto">{table}</div>'


def fold(summary: str, inside: str) -> str:
    """Return a `<details>` element: a line of plain text that opens a hidden part, which is HTML."""
    return f"<details><summary>{html.escape(summary)}</summary>{inside}</details>"


def figure(image: str, alt: str, caption: str) -> str:
    """Return a `<figure>` element: a picture by its address or data URL, its alternative text, and its caption."""
    return (
        f'<figure style="margin:0"><img src="{html.escape(image)}" alt="{html.escape(alt)}" style="max-width:100%">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _caption(inner: str) -> str:
    return f'<caption style="text-align:left;caption-side:top;min-width:24em">{inner}</caption>'


def _sent(requests: Sequence[Sent]) -> str:
    if not requests:
        return ""
    count = "1 request" if len(requests) == 1 else f"{len(requests)} requests"
    listing = "\n\n".join(map(str, requests))
    return fold(f"What was sent ({count})", f"<pre>{html.escape(listing)}</pre>")


def _style(text: str) -> str:
    return _CELL + (";white-space:nowrap" if len(text) <= _SHORT or _TIME.fullmatch(text) else "")


def _cell(value: object) -> str:
    text = str(value)
    if "\n" in text:
        inner = f'<pre style="margin:0;white-space:pre-wrap;overflow-wrap:anywhere">{html.escape(text)}</pre>'
        return f'<td style="{_CELL}">{inner}</td>'
    give = ";overflow-wrap:anywhere" if any(len(word) > _LONG for word in text.split()) else ""
    return f'<td style="{_style(text)}{give}">{_text(text)}</td>'


def _text(text: str) -> str:
    # Pages fold runs of blanks; here they may be what is wrong with a sign-in name.
    plain = html.escape(text).replace("  ", "&nbsp; ")
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", plain)
