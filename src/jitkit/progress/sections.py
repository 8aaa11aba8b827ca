"""The sections of the report, each a question with its answer, its figure and its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from jitkit.progress import abuse, answers, load, metrics, page, quality, reconcile, states, stuck
from jitkit.progress.campaigns import campaigns
from jitkit.progress.interruptions import interruptions
from jitkit.progress.stragglers import stragglers
from jitkit.progress.tables import Tables
from jitkit.progress.words import clock
from jitkit.protocol import CALLS_PER_SECOND, TIMEOUT_MS

if TYPE_CHECKING:
    from jitkit.progress.figures import Figures

__all__ = ["opening", "sections"]

_MOST = 12  # rows of a table that lies open


def opening(figures: Figures) -> str:
    """Answer the five questions, and tell what stands out: all that a reader in a hurry needs."""
    tables, forecast = figures.tables, figures.forecast
    sentences = (
        answers.moved(tables),
        answers.fast(tables),
        answers.stuck(tables),
        answers.never(forecast),
        answers.when(forecast, figures.cut_over()),
    )
    found = [(each.label, each.words, each.next_step) for each in figures.findings]
    return page.answers(zip(answers.QUESTIONS, sentences, strict=True)) + page.found(
        "What stands out", found, _nothing(tables)
    )


def _nothing(tables: Tables) -> str:
    words = "no stall, no group that lags behind by more than chance explains"
    return f"Nothing: no outage, {words}." if tables.logged else f"Nothing: {words}. Without a log no outage shows."


def sections(figures: Figures, export_problems: pd.DataFrame | None) -> list[str]:
    """Make the sections in the order in which they are asked about.

    Args:
        figures: the figures.
        export_problems: what was wrong with the legacy export: `cause`, `result`, `rows`.
    """
    made = (
        _moved(figures),
        _fast(figures),
        _stuck(figures),
        _never(figures),
        _when(figures),
        _health(figures),
        _agreement(figures),
        _cohorts(figures),
        _campaigns(figures),
        _abuse(figures),
        _quality(figures, export_problems),
        _stragglers(figures),
    )
    return [each for each in made if each]


def _moved(figures: Figures) -> str:
    state = states.table(figures.tables)
    state = (
        state[state["users"] > 0].assign(share=(100 * state["share"]).round(1)).rename(columns={"share": "share, %"})
    )
    state["state"] = state["state"].str.replace("_", " ")
    return page.section(
        answers.QUESTIONS[0],
        answers.moved(figures.tables),
        page.picture(figures.curve()),
        page.table("Where everybody stands", state),
    )


def _fast(figures: Figures) -> str:
    return page.section(answers.QUESTIONS[1], answers.fast(figures.tables), page.picture(figures.pace()))


def _stuck(figures: Figures) -> str:
    waiting, causes = stuck.remaining(figures.tables), metrics.failures(figures.tables)
    parts = [page.picture(figures.remaining(), numbers=False), page.table("What to do about it", waiting)]
    if len(causes):
        parts += [
            "<p>One person can fail several times, so the next figure counts sign-ins, not people.</p>",
            page.picture(figures.failures(), numbers=False),
            page.table("How to fix each cause", causes),
        ]
    return page.section(answers.QUESTIONS[2], answers.stuck(figures.tables), *parts)


def _never(figures: Figures) -> str:
    forecast = figures.forecast
    parts = [page.picture(figures.course())]
    if not forecast.too_early and forecast.migrated < forecast.in_scope:
        parts.append(page.paragraph(forecast.note))
    if forecast.backtest is not None:
        words = f"Tried on days that have passed: {forecast.backtest}."
        parts.append(page.paragraph(words))
    return page.section(answers.QUESTIONS[3], answers.never(forecast), *parts)


def _when(figures: Figures) -> str:
    choice = figures.cut_over()
    parts = []
    if len(choice.dates):
        frame = choice.shown()
        parts = [page.table(f"For a target of {100 * figures.target:g} % moved", frame), page.paragraph(choice.note)]
    return page.section(answers.QUESTIONS[4], answers.when(figures.forecast, choice), *parts)


def _health(figures: Figures) -> str:
    tables = figures.tables
    took, again, busy = metrics.latency(tables), load.retries(tables), load.busy_seconds(tables)
    words = "The endpoint has not been called yet."
    if took["calls"]:
        words = (
            f"Half of the calls were answered within {took['p50']:,.0f} ms and 99 % within {took['p99']:,.0f} ms. "
            f"Entra waits {TIMEOUT_MS:,} ms; {took['over_limit']:,} of {took['calls']:,} calls took longer."
        )
    if again["calls"]:
        near = f"In {len(busy):,} seconds the calls came" if len(busy) else "The calls never came"
        words += f" {again['retried']:,} sign-ins needed a second attempt. {near} near the {CALLS_PER_SECOND} a second "
        words += "that the service allows."
    broken = interruptions(tables)
    broken = broken[["since", "until", "failed", "users", "came_back", "meaning"]].rename(columns={"meaning": "cause"})
    broken = broken.assign(since=broken["since"].map(clock), until=broken["until"].map(clock))
    parts = [page.picture(figures.latency()), page.picture(figures.outcomes())]
    if len(broken):
        parts.insert(0, page.table("When sign-ins broke one after the other", broken))
    return page.section("Is the endpoint healthy?", words, *parts)


def _agreement(figures: Figures) -> str:
    found = reconcile.matrix(figures.tables)
    agree, apart = found[found["agree"]], found[~found["agree"]]
    words = (
        f"The flag, the sign-in log and the endpoint's ledger agree about {agree['users'].sum():,} people and disagree "
        f"about {apart['users'].sum():,}."
    )
    columns = ["flag", "log", "ledger", "users"]
    parts = []
    if len(apart):
        parts.append(
            page.table("Where they disagree, and what is likely behind it", apart[[*columns, "cause", "remedy"]])
        )
    parts.append(page.details("Where they agree", page.table("Where flag, log and ledger agree", agree[columns])))
    return page.section("Do the three records agree?", words, *parts)


def _cohorts(figures: Figures) -> str:
    drawn = [figures.cohorts(by) for by in figures.dimensions]
    if not drawn:
        words = "The users table has no column to group by. Add country or app, and this section compares the groups."
        return page.section("Which groups lag behind?", words)
    words = "Groups are compared after the same time since their flag, so that late ones are not judged by their start."
    parts = [page.picture(chart) for chart in drawn]
    return page.section("Which groups lag behind?", words, *parts)


def _campaigns(figures: Figures) -> str:
    drawn = figures.campaigns().each
    if not drawn:
        return ""
    words = (
        "People who got a reminder, beside people who were held back. What both did is not its effect; what only the "
        "first did is, if lots decided who was held back."
    )
    cells = []
    for each in campaigns(figures.tables):
        if each.effect is not None:
            shown = each.effect.cells.assign(hazard=(1000 * each.effect.cells["hazard"]).round(1))
            shown = shown.rename(columns={"hazard": "moves per 1,000 user days"})
            cells.append(page.details("How the effect was measured", page.table(each.words, shown)))
    parts = [page.picture(chart) for chart in drawn]
    return page.section("What did the campaign do?", words, *parts, *cells)


def _abuse(figures: Figures) -> str:
    tables = figures.tables
    found = abuse.signs(tables)
    if not len(tables.sign_ins) and not len(tables.ledger):
        return ""
    again, strange = found["replays"], found["strangers"]
    words = (
        f"{found['wrong']:,} wrong passwords were typed at {found['accounts']:,} accounts, {found['most']:,} at one. "
        f"{found['unknown']:,} sign-ins used a name that nobody has. "
    )
    if len(tables.ledger):
        words += f"{again:,} recorded calls were sent again, " if again else "No recorded call was sent again, "
        words += (
            f"and {strange:,} calls came without a valid token." if strange else "and every call had a valid token."
        )
    tries = abuse.attempts(tables)[["tries", "accounts", "wrong"]]
    parts = [page.table("Wrong passwords by account: many at few is guessing, few at many is a list", tries)]
    return page.section("Does somebody try stolen passwords?", words, *parts)


def _quality(figures: Figures, export_problems: pd.DataFrame | None) -> str:
    logs, store = quality.quality(figures.tables), quality.legacy_data(figures.tables)
    shown = []
    if len(logs):
        shown.append(page.table("The logs", logs))
    if len(store):
        store = store.assign(share=(100 * store["share"]).round(1)).rename(
            columns={"share": "share of those asked about, %"}
        )
        shown.append(page.table("The legacy store, as the endpoint met it", store))
    if export_problems is not None and len(export_problems):
        shown.append(page.table("The legacy export", export_problems))
    words = (
        "What does not fit together in the data behind these figures:" if len(logs) else "No log contradicts another."
    )
    return page.section("Can the data be trusted?", words, *shown)


def _stragglers(figures: Figures) -> str:
    left = stragglers(figures.tables)
    if left.empty:
        return page.section("Who is left?", "Nobody.")
    words = (
        f"stragglers.csv, beside this page, lists {len(left):,} people by id: those who are not moved, and those whose "
        "move nothing confirms. Join names to the ids where you may."
    )
    counts = left.groupby("state").size().rename("people").reset_index().sort_values("people", ascending=False)
    counts["state"] = counts["state"].str.replace("_", " ")
    return page.section("Who is left?", words, page.table("In stragglers.csv", counts))
