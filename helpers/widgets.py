"""Widgets for the notebooks: each does what a line of code does as well."""

from __future__ import annotations

import asyncio
from html import escape
from itertools import islice
from typing import Any, Final

import ipywidgets as ui

from helpers.kit import Session
from jitkit.display import Card
from jitkit.errors import KitError
from jitkit.progress.report import Figures

__all__ = ["FiguresFilter", "ProgressBar", "SignInBox"]

_NAMES_OFFERED: Final = 40
_THE_RIGHT_ONE: Final = "the right one"
_ANOTHER_ONE: Final = "another one, typed below"
_OTHER_FIELD: Final = "Another password"
_GIVE_A_NAME: Final = "Type a sign-in name, or choose one from the list that the field shows when you click it."
_LAYOUT: Final[dict[str, Any]] = {"style": {"description_width": "initial"}, "layout": {"width": "auto"}}


class _Widget:
    """Shows `view` where widgets work, and a line of text in a page that has been exported."""

    view: ui.VBox

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle: dict[str, Any] = self.view._repr_mimebundle_()
        return bundle | {"text/plain": repr(self)}


class SignInBox(_Widget):
    """Sign a user in with a button, or with Enter in a field; `await s.sign_in(name)` does the same.

    The password fields exist only where the people are invented, and are emptied at every sign-in. `value` is the
    result of the last one; None before the first, or when it could not be tried.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.value: Any = None
        self._running: asyncio.Task[None] | None = None
        people = session.world.people
        self.name = ui.Combobox(
            description="Sign-in name",
            options=tuple(islice(people, _NAMES_OFFERED)),
            placeholder=next(iter(people), "user@example.com"),
            **_LAYOUT,
        )
        self.typed = ui.RadioButtons(description="Password", options=(_THE_RIGHT_ONE, _ANOTHER_ONE), **_LAYOUT)
        self.password = _password_field(_OTHER_FIELD)
        self.new_password = _password_field("New password, if one is asked for")
        self.password.disabled = True
        self.typed.observe(lambda change: setattr(self.password, "disabled", change["new"] == _THE_RIGHT_ONE), "value")
        self.button = ui.Button(description="Sign in", button_style="primary")
        self.button.on_click(self._pressed)
        for field in (self.name, self.password, self.new_password):
            field.on_msg(lambda _, message, __: self._pressed() if message.get("event") == "submit" else None)
        self.status = ui.HTML(_status(f"{_GIVE_A_NAME} Then press Enter or Sign in."))
        self.result = ui.HTML()
        secret = [self.typed, self.password, self.new_password] if people else []
        self.view = ui.VBox([self.name, *secret, self.button, self.status, self.result])

    def __repr__(self) -> str:
        return "<SignInBox: a name, a password and a button, shown while the notebook runs>"

    def _pressed(self, _: object = None) -> None:
        if self.button.disabled:  # one is signing in: Enter waits as the button does
            return
        name, new = self.name.value.strip(), self.new_password.value or None
        typed = None if self.typed.value == _THE_RIGHT_ONE else str(self.password.value)
        self.password.value = self.new_password.value = self.result.value = ""
        self.value = None
        if lacking := self._lacking(name, typed):
            self.status.value = _status(lacking)
            return
        self.button.disabled = True
        self.status.value = _status(f"{self._who(name)} is signing in …")
        self._running = asyncio.get_running_loop().create_task(self._sign_in(name, typed, new))

    def _lacking(self, name: str, typed: str | None) -> str:
        """Say which field to fill before this name can sign in; empty when it can."""
        if not name:
            return _GIVE_A_NAME
        world = self._session.world
        if world.people and typed is None and world.password_of(name) is None:
            return f"{name} is not among the invented people. Choose “{_ANOTHER_ONE}” and fill “{_OTHER_FIELD}”."
        return f"Fill “{_OTHER_FIELD}”, or choose “{_THE_RIGHT_ONE}”." if typed == "" else ""

    def _who(self, name: str) -> str:
        return "The user" if self._session.profile.hides_people else name

    async def _sign_in(self, name: str, typed: str | None, new: str | None) -> None:
        try:
            self.value = await self._session.sign_in(name, password=typed, new_password=new)
        except KitError as problem:
            self.status.value = _status(str(problem))
        except Exception as problem:
            self.status.value = _status(f"Something unexpected happened: {type(problem).__name__}.")
            raise
        else:
            words = self.value.status if isinstance(self.value, Card) else self.value.outcome
            self.status.value = _status(f"{self._who(name)}: {words}")
            self.result.value = f'<div style="line-height:1.3">{self.value._repr_html_()}</div>'
        finally:
            self.button.disabled = False


class ProgressBar(_Widget):
    """Show how far a long step is; give it as `progress=` to the step. The label says what is counted."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._tenth = 0
        self.bar = ui.IntProgress(description=label, min=0, max=1, **_LAYOUT)
        self.status = ui.HTML(_status(f"{label}: not started"))
        self.view = ui.VBox([self.bar, self.status])

    def __call__(self, done: int, total: int) -> None:
        """Move the bar to `done` of `total`."""
        self.bar.max = max(total, 1)
        self.bar.value = done
        tenth = 10 * done // self.bar.max
        if tenth != self._tenth or done in (0, total):
            # A screen reader reads every change of the line aloud: ten are enough.
            self._tenth = tenth
            self.status.value = _status(f"{self._label}: {done:,} of {total:,}")

    @property
    def value(self) -> int:
        """How many are done."""
        return int(self.bar.value)

    def __repr__(self) -> str:
        return f"<ProgressBar: {self._label}, shown while the notebook runs>"


class FiguresFilter(_Widget):
    """Show the figures of some of the people; `data.only(country="DE")` does the same.

    Everybody is shown until something is chosen. Choosing only draws again: nothing is written anywhere.
    """

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self.choices = {
            name: ui.Dropdown(
                description=name.replace("_", " ").capitalize(),
                options=(("everybody", ""), *((value, value) for value in figures.values(name))),
                value="",
                **_LAYOUT,
            )
            for name in figures.dimensions
        }
        self.status, self.shown = ui.HTML(), ui.HTML()
        self.view = ui.VBox([*self.choices.values(), self.status, self.shown])
        for each in self.choices.values():
            each.observe(lambda _: self._draw(), "value")
        self._draw()

    @property
    def value(self) -> Figures:
        """The figures of the people chosen."""
        return self._figures.only(**{name: each.value for name, each in self.choices.items()})

    def __repr__(self) -> str:
        return "<FiguresFilter: a choice for each column that people can be grouped by, shown while the notebook runs>"

    def _draw(self) -> None:
        chosen = self.value
        counts = chosen.counts
        self.status.value = _status(f"{counts['migrated']:,} of {counts['in_scope']:,} people are moved.")
        self.shown.value = chosen.curve()._repr_html_() + chosen.remaining()._repr_html_()


def _password_field(label: str) -> ui.Password:
    return ui.Password(description=label, placeholder="invented, for the rehearsal only", **_LAYOUT)


def _status(text: str) -> str:
    lines = "<br>".join(escape(line) for line in text.splitlines())
    return f'<div role="status">{lines}</div>'
