"""Writes a report as a short mail: its first page in HTML, two pictures attached, and the same in plain text."""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP

from jitkit.progress.history import Changes
from jitkit.progress.report import Figures
from jitkit.progress.wording import moment, say, template


def as_mail(figures: Figures, changes: Changes, title: str = "Password migration") -> bytes:
    """Write the mail as a file that a mail program opens as a draft; it has no sender and no addressee.

    Pictures are parts of the mail, which programs show that load nothing from outside and no data URLs.
    """
    tables, charts = figures.tables, {"curve": figures.curve(), "course": figures.course()}
    subject = say("subject", title=title, counts=figures.counts, as_of=tables.as_of, trouble=changes.trouble)
    message = EmailMessage(policy=SMTP.clone(max_line_length=160))
    message["Subject"], message["X-Unsent"] = subject, "1"
    message.set_content(f"{title}, as of {moment(tables.as_of)}\n\n{changes}\n\n{figures.in_words()}\n")
    given = {"title": title, "subject": subject, "changes": changes, "figures": figures, "charts": charts}
    message.add_alternative(template("mail.html.jinja").render(given), subtype="html")
    body = message.get_payload()[1]  # type: ignore[index]
    for name, chart in charts.items():
        named = {"cid": f"<{name}>", "filename": f"{name}.png", "disposition": "inline"}
        body.add_related(chart.png, "image", "png", **named)  # type: ignore[union-attr]
    return message.as_bytes()
