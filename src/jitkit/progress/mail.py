"""Writes a report as a short mail: its first page in HTML, two pictures attached, and the same in plain text."""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP

from jitkit.progress import findings
from jitkit.progress.figures import day
from jitkit.progress.history import Changes
from jitkit.progress.report import Figures
from jitkit.progress.tables import TEXTS
from jitkit.progress.wording import moment, template

__all__ = ["as_mail"]


def as_mail(figures: Figures, changes: Changes, title: str = "Password migration") -> bytes:
    """Write the mail as a file that a mail program opens as a draft; it has no sender and no addressee.

    Pictures are parts of the mail, which programs show that load nothing from outside and no data URLs.
    """
    tables, counts, charts = figures.tables, figures.counts, {"curve": figures.curve(), "course": figures.course()}
    share = f" ({100 * counts['migrated_share']:.0f} %)" if counts["in_scope"] else ""
    subject = f"{title}: {counts['migrated']:,} of {counts['in_scope']:,} moved{share}"
    if tables.as_of is not None:
        subject += f" on {day(tables.as_of)}"
    if changes.trouble:
        subject += f", {len(changes.trouble)} new to act on"
    message = EmailMessage(policy=SMTP.clone(max_line_length=160))
    message["Subject"], message["X-Unsent"] = subject, "1"
    message.set_content(f"{title}, as of {moment(tables.as_of)}\n\n{changes}\n\n{figures.in_words()}\n")
    page = template("mail.html.jinja").render(
        title=title,
        subject=subject,
        changes=changes,
        figures=figures,
        parts=TEXTS["standing"],
        do_next=findings.do_next(tables).head(5),
        found=[each for each in figures.findings if not findings.is_over(each, tables.as_of)],
        charts=charts,
    )
    message.add_alternative(page, subtype="html")
    body = message.get_payload()[1]  # type: ignore[index]
    for name, chart in charts.items():
        named = {"cid": f"<{name}>", "filename": f"{name}.png", "disposition": "inline"}
        body.add_related(chart.png, "image", "png", **named)  # type: ignore[union-attr]
    return message.as_bytes()
