"""Widgets for the notebooks: each does what a line of code does as well."""

from __future__ import annotations

import asyncio
import contextlib
from html import escape
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import ipywidgets as ui

from helpers.kit import Session
from jitkit.display import Card
from jitkit.errors import KitError

if TYPE_CHECKING:
    from jitkit.progress.report import Figures

__all__ = ["FiguresFilter", "ProgressBar", "SignInBox"]

_NAMES_OFFERED: Final = 40
_GIVE_A_NAME: Final = "Type a sign-in name, or choose one from the list that the field shows when you click it."
_UNCHANGED_SECONDS: Final = 1.0
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
        # Fields to type in only: where a list or a choice has the focus, letters are JupyterLab's commands.
        self.password = _password_field("Password", "empty: the right one of this invented person")
        self.new_password = _password_field("New password, if one is asked for", "invented, for the rehearsal only")
        self.button = ui.Button(description="Sign in", button_style="primary")
        self.button.on_click(self._pressed)
        for field in (self.name, self.password, self.new_password):
            # Else the browser sends what was typed letter by letter, and the last ones after a press.
            field.continuous_update = False
            field.on_msg(self._entered)
        self.status = ui.HTML(_status(f"{_GIVE_A_NAME} Then press Enter or Sign in."))
        self.result = ui.HTML()
        secret = [self.password, self.new_password] if people else []
        self.view = ui.VBox([self.name, *secret, self.button, self.status, self.result])

    def __repr__(self) -> str:
        return "<SignInBox: a name, a password and a button, shown while the notebook runs>"

    def _entered(self, field: ui.Text, message: dict[str, Any], _: object) -> None:
        if message.get("event") == "submit":
            self._running = asyncio.get_running_loop().create_task(self._press_when_typed(field))

    async def _press_when_typed(self, field: ui.Text) -> None:
        """Wait for what was typed, which follows the message of Enter, unless the field is as it was."""
        arrived = asyncio.Event()

        def changed(_: object) -> None:
            arrived.set()

        field.observe(changed, "value")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(arrived.wait(), _UNCHANGED_SECONDS)
        field.unobserve(changed, "value")
        self._pressed()

    def _pressed(self, _: object = None) -> None:
        if self.button.disabled:  # one is signing in: Enter waits as the button does
            return
        name, typed, new = self.name.value.strip(), self.password.value or None, self.new_password.value or None
        self.password.value = self.new_password.value = self.result.value = ""
        self.value = None
        world = self._session.world
        if not name or (world.people and typed is None and world.password_of(name) is None):
            unknown = f"{name} is not among the invented people: fill “Password” too."
            self.status.value = _status(unknown if name else _GIVE_A_NAME)
            return
        self.button.disabled = True
        self.status.value = _status(f"{self._who(name)} is signing in …")
        self._running = asyncio.get_running_loop().create_task(self._sign_in(name, typed, new))

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
            self.result.value = _in_lines(self.value._repr_html_())
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
        self.status.value = _status("{migrated:,} of {in_scope:,} people are moved.".format(**chosen.counts))
        self.shown.value = _in_lines(chosen.curve()._repr_html_() + chosen.remaining()._repr_html_())


def _password_field(label: str, hint: str) -> ui.Password:
    return ui.Password(description=label, placeholder=hint, **_LAYOUT)


def _in_lines(page: str) -> str:
    """Set text as close as a cell's output has it; a widget gives each line the height of a field."""
    return f'<div style="line-height:1.3">{page}</div>'


def _status(text: str) -> str:
    return f'<div role="status">{"<br>".join(map(escape, text.splitlines()))}</div>'
