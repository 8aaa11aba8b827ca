"""What a sign-in came to, and the sequence of what happened, in words a newcomer understands and without a secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from jitkit.display import Table
from jitkit.rehearsal.clock import Clock
from jitkit.rehearsal.ids import new_id

Outcome = Literal[
    "signed in",
    "wrong password",
    "unknown user",
    "account disabled",
    "locked out",
    "blocked",
    "new password needed",
    "no password",
    "second factor needed",
    "blocked by policy",
    "error",
]
Actor = Literal["Person", "Entra", "Your endpoint", "Directory"]
Path = Literal["callout", "silent", "reset"]


@dataclass(frozen=True)
class Step:
    """One thing that happened: when (milliseconds after the start), who did it, what, and why."""

    at_ms: float
    actor: Actor
    what: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """What a sign-in came to.

    Args:
        username: the sign-in name as typed.
        outcome: the result in words.
        code: the AADSTS number in the sign-in log; 0 when the person is signed in.
        user_sees: what the person reads on the page.
        title: the title of the block page, when the endpoint blocks.
        message: the message of the block page, when the endpoint blocks.
        migrated: whether this sign-in turned the migration flag to false.
        path: how it did: callout (the endpoint said MigratePassword), silent (the stored password already matched) or
            reset (the person chose a new password).
        called_endpoint: whether a request reached out to the endpoint.
        attempts: how many requests were sent to it.
        callout_error: the 1003xxx number in the sign-in log, or None.
        http_status: the status of the endpoint's last answer, or None.
        correlation_id: names this sign-in in the tenant's log and in the endpoint's ledger.
        user_id: the user's object id, or None for an unknown user.
        app_id: the app that was signed in to.
        ip: the address it came from.
        duration_ms: how long it took.
        steps: what happened, in order.
    """

    username: str
    outcome: Outcome
    code: int
    user_sees: str
    title: str | None = None
    message: str | None = None
    migrated: bool = False
    path: Path | None = None
    called_endpoint: bool = False
    attempts: int = 0
    callout_error: int | None = None
    http_status: int | None = None
    correlation_id: str
    user_id: str | None = None
    app_id: str
    ip: str = "127.0.0.1"
    duration_ms: float
    steps: tuple[Step, ...] = field(repr=False)

    @property
    def id_token(self) -> str | None:
        """The token the app would receive, when the app accepts id tokens. It is signed when it is asked for."""
        issue: Callable[[], str] | None = self.__dict__.get("_issue")
        return issue() if issue else None

    def _repr_html_(self) -> str:
        return Table(
            caption=f"Sign-in of {self.username}: {self.outcome}" + (", migrated" if self.migrated else ""),
            columns=("After", "Who", "What", "Detail"),
            rows=[(f"{step.at_ms:.0f} ms", step.actor, step.what, step.detail) for step in self.steps],
            note=f"The person sees: {self.user_sees}",
        )._repr_html_()


class Course:
    """Follow one sign-in while it happens.

    Args:
        username: the sign-in name as typed.
        app_id: the app that is signed in to.
        clock: the tenant's.
        ip: the address it comes from.
    """

    def __init__(self, username: str, app_id: str, clock: Clock, *, ip: str = "127.0.0.1") -> None:
        self.username: Final = username
        self.app_id: Final = app_id
        self.ip: Final = ip
        self.correlation_id: Final = new_id()
        self.started: Final = clock.now()
        self._clock = clock
        self._from = clock.stopwatch()
        self._steps: list[Step] = []

    def step(self, actor: Actor, what: str, detail: str = "") -> None:
        """Note that something happened now."""
        self._steps.append(Step(self._elapsed(), actor, what, detail))

    def end(
        self, outcome: Outcome, code: int, user_sees: str, *, issue: Callable[[], str] | None = None, **facts: Any
    ) -> SignIn:
        """Close the course.

        Args:
            outcome: the result in words.
            code: the AADSTS number.
            user_sees: what the person reads.
            issue: makes the ID token, when the app receives one.
            facts: further fields of `SignIn`.
        """
        self.step("Person", f"sees: {user_sees}")
        done = SignIn(
            username=self.username,
            outcome=outcome,
            code=code,
            user_sees=user_sees,
            correlation_id=self.correlation_id,
            app_id=self.app_id,
            ip=self.ip,
            duration_ms=self._elapsed(),
            steps=tuple(self._steps),
            **facts,
        )
        if issue:
            done.__dict__["_issue"] = issue
        return done

    def _elapsed(self) -> float:
        return (self._clock.stopwatch() - self._from) * 1000
