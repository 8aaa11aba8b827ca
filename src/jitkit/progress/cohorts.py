"""Compares groups of users: which lag behind, by any column of the users table, and what a campaign did."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from jitkit.errors import BadTable
from jitkit.progress.figures import kaplan_meier, quantile, wilson
from jitkit.progress.silence import days_since
from jitkit.progress.tables import DAY, KINDS, TEXTS, Tables, measured, once, refusal

NOTHING: Final = "(empty)"
"""The cohort of users whose cell is empty."""

COLUMN: Final = "campaign"
"""The column of users with who was reminded: `reached 2026-07-21`, and `control 2026-07-21` for who was not."""

_MOST: Final = 40  # cohorts; the smaller ones are put together
_JUDGED: Final = 20  # users from which on a cohort is called lagging
_BANDS: Final = 5
_YOUNG: Final = 0.1  # of the time over which the most can be compared

_CELL: Final = re.compile(r"(?:reached|control) \d{4}-\d{2}-\d{2}")
_COMPARED: Final = 14  # days before and after a campaign
_USERS, _EVENTS, _DAYS = 50, 10, 3  # at least so many users and migrations in each group, and days on each side
_NAMES: Final = ("reached", "control")
_BY_LOT: Final = 0.001  # how seldom groups drawn by lot may be taken for others


def dimensions(tables: Tables) -> list[str]:
    """Name the columns of the users table by which users can be grouped."""
    return [name for name in tables.users.columns if name not in KINDS["users"]]


@once
def cohorts(tables: Tables, by: str) -> pd.DataFrame:
    """Compare groups of users at equal exposure, the one that lags furthest first.

    Groups that were flagged later had less time, so their plain shares say little. The fair share is the Kaplan-Meier
    share that has moved so many days after its own flag as the youngest group was watched. A group watched for less
    than a tenth of the time over which the most can be compared (where days times users are the most) is too young: it
    has no fair share, does not shorten the time of the others, and comes last. A group lags when the whole of its
    interval lies below the share of all other users; the intervals are wide enough for all groups at once.
    Dates and numbers with many values are cut into five bands of equal size.

    `others` is the fair share of all other users, `days` the exposure, and `behind` how many more had moved if the
    group were like the others. `users` sums to the users in scope. Raises BadTable if users have no column `by`.
    """
    if by not in (known := dimensions(tables)):
        raise refusal("no_column" if known else "no_columns", by=by, known=", ".join(known))
    codes, names = groups_of(tables, by)
    moved = tables.users["migrated_at"].notna().to_numpy()
    users, hits = (np.bincount(each, minlength=len(names)) for each in (codes, codes[moved]))
    low, high = wilson(hits, np.maximum(users, 1), quantile())
    plain = {"cohort": names, "users": users, "migrated": hits, "remaining": users - hits}
    plain |= {"share": hits / np.maximum(users, 1), "share_low": low, "share_high": high}
    result = pd.DataFrame(plain).join(_fair(tables, codes, len(names), moved))
    result["lagging"] = (result["fair_high"] < result["others"]) & (result["users"] >= _JUDGED)
    gap = (result["others"] - result["fair_share"]) * result["users"]
    result["behind"] = gap.clip(lower=0).round().fillna(0).astype("int64")
    result = result.sort_values(["lagging", "behind", "share", "cohort"], ascending=[False, False, True, True])
    # Those that are too young come last.
    return result.sort_values("fair_share", key=pd.isna, kind="stable", ignore_index=True)


@once
def groups_of(tables: Tables, by: str) -> tuple[np.ndarray, pd.Index]:
    """Number the groups by a column in alphabetical order: the number of each user's, and their names."""
    return pd.factorize(grouped(tables.users[by]), sort=True)


def grouped(column: pd.Series) -> pd.Series:
    """Put a column's values into words: few groups, and every user in one."""
    if not isinstance(column.dtype, pd.CategoricalDtype) and column.nunique() > _MOST:
        column = _in_bands(column)
    words = column.astype("str").fillna(NOTHING).replace("", NOTHING)
    small = words.value_counts().sort_index().sort_values(ascending=False, kind="stable").index[_MOST:]
    return words.mask(words.isin(small), "(all others)") if len(small) else words


def groups(column: pd.Series) -> list[str]:
    """Name the groups of filled cells: of dates and numbers in their order, of texts the most frequent first."""
    words, values = grouped(column), measured(column)
    names = words.value_counts().index if values is None else values.groupby(words).min().sort_values().index
    return [name for name in names if name != NOTHING]


def are_like(column: pd.Series, others: pd.Series) -> np.ndarray:
    """Mark the cells that are among others; of dates and numbers, those that lie between others."""
    both = measured(pd.concat([column, others], ignore_index=True))
    if both is None:
        return column.isin(others).to_numpy()
    known = both[len(column) :]
    return both[: len(column)].between(known.min(), known.max()).to_numpy()


def _in_bands(column: pd.Series) -> pd.Series:
    """Cut dates and numbers into bands of equal size; leave texts as they are."""
    values = measured(column)
    if values is None:
        return column
    bands = pd.qcut(values, _BANDS, duplicates="drop")
    form = "{:%Y-%m-%d} to {:%Y-%m-%d}" if pd.api.types.is_datetime64_any_dtype(values) else "{:,g} to {:,g}"
    words = [form.format(band.left, band.right) for band in bands.cat.categories]
    return bands.cat.rename_categories(words) if len(set(words)) == len(words) else bands


def _fair(tables: Tables, codes: np.ndarray, groups: int, moved: np.ndarray) -> pd.DataFrame:
    names = ["days", "fair_share", "fair_low", "fair_high", "others"]
    flagged, as_of = tables.users["flagged_at"], tables.as_of
    known = int(flagged.notna().sum())
    if not known or as_of is None or tables.undated:
        return pd.DataFrame(np.nan, index=range(groups), columns=names)
    watched: np.ndarray = -days_since(as_of, flagged)
    days: np.ndarray = np.maximum(days_since(flagged, tables.users["migrated_at"].fillna(as_of)), 0)
    # In the order that `kaplan_meier` needs; those without a flag come last, and are left out.
    order = np.lexsort((~moved, days))[:known]
    days, watched, codes, moved = (part[order] for part in (days, watched, codes, moved))
    sizes, longest = np.bincount(codes, minlength=groups), np.zeros(groups)
    np.maximum.at(longest, codes, watched)
    judged = sizes >= (_JUDGED if sizes.max() >= _JUDGED else 0)
    exposure, users = longest[judged], sizes[judged]
    old = _YOUNG * exposure[np.argmax(exposure * ((exposure >= exposure[:, None]) @ users))]
    at, z = exposure[exposure >= old].min(), quantile(groups)
    rows = []
    for code in range(groups):
        own = codes == code
        shares = kaplan_meier(days[own], moved[own], at, z) if sizes[code] and longest[code] >= old else (np.nan,) * 3
        others = kaplan_meier(days[~own], moved[~own], at, z)[0] if sizes[code] < known else np.nan
        rows.append((at, *shares, others))
    return pd.DataFrame(rows, columns=names)


class Effect(NamedTuple):
    """What a campaign did: the extra migrations among those reached, from low to high (95 %), and what was compared."""

    extra: float
    low: float
    high: float
    days: int
    cells: pd.DataFrame
    words: str
    by_lot: bool


class Campaign(NamedTuple):
    """A reminder: when it went out, the ids of those who got it and did not, and its effect, if that is known."""

    at: pd.Timestamp
    reached: pd.Series
    control: pd.Series
    effect: Effect | None
    words: str


@once
def campaigns(tables: Tables) -> list[Campaign]:
    """Measure each campaign that the column `campaign` of the users names; later ones than `as_of` are left out.

    Raises BadTable if a cell of the column is neither empty nor of the form that `COLUMN` describes.
    """
    if COLUMN not in tables.users:
        return []
    cells = tables.users[COLUMN].astype("str").fillna("")
    filled = cells[cells != ""].drop_duplicates()
    if not (fits := filled.str.fullmatch(_CELL)).all():
        raise refusal("campaign_cell", column=COLUMN, cell=filled[~fits].iloc[0])
    sent = []
    for date in sorted({*filled.str[-10:]}):
        at = pd.Timestamp(date, tz="UTC")
        if tables.as_of is None or at > tables.as_of:
            continue
        reached, control = (tables.users.loc[cells == f"{group} {date}", "user_id"] for group in _NAMES)
        try:
            effect = _measure(tables, at, {"reached": reached, "control": control})
            sent.append(Campaign(at, reached, control, effect, effect.words))
        except BadTable as refused:
            sent.append(Campaign(at, reached, control, None, f"Its effect is not known: {refused.happened}"))
    return sent


def course(tables: Tables, sent: Campaign) -> pd.DataFrame:
    """Follow the share of both groups (0 to 1) that has moved by the end of each `day` around a campaign, -14 to 14."""
    users = tables.users.set_index("user_id")["migrated_at"]
    days = range(-_COMPARED, 0 if tables.as_of is None else min(_COMPARED, (tables.as_of - sent.at) // DAY))
    rows: dict[str, Any] = {"day": list(days)}
    for name in _NAMES:
        moved = days_since(sent.at, users[getattr(sent, name)])
        rows[name] = [float((moved < each + 1).mean()) for each in days]
    return pd.DataFrame(rows)


def _measure(tables: Tables, at: pd.Timestamp, groups: dict[str, pd.Series]) -> Effect:
    """Measure a campaign, or raise BadTable: by shares if the groups are as drawn by lot, else by how they changed."""
    if not len(groups["control"]):
        raise refusal("no_control")
    flagged = tables.users["flagged_at"].min()
    if pd.isna(flagged) or tables.as_of is None:
        raise refusal("no_flags")
    parts = {name: tables.users.loc[ids.index] for name, ids in groups.items()}
    unlike = _unlike(pd.concat(parts, names=["group"]), at)
    days = min((tables.as_of - at) // DAY, _COMPARED)
    days = min(days, (at - flagged) // DAY) if unlike else days
    if days < _DAYS:
        raise refusal("few_days", days=max(days, 0), needed=_DAYS)
    extra, low, high, cells = (_by_change if unlike else _by_shares)(parts, at, days)
    said = TEXTS["campaign"]["more" if low > 0 else "fewer" if high < 0 else "unclear"].format(abs(extra))
    how = TEXTS["campaign"]["by_change" if unlike else "by_lot"].format(unlike)
    words = f"Within {days} days the campaign {said} (95 % interval {low:,.0f} to {high:,.0f}). {how}"
    return Effect(extra, low, high, days, cells, words, not unlike)


def _unlike(users: pd.DataFrame, at: pd.Timestamp) -> str:
    """Name the column in which the groups, as they were before a campaign, differ by more than a lot explains."""
    from scipy.stats import chi2_contingency  # takes half a second to load, and only campaigns need it

    moved, group = (users["migrated_at"] < at).to_numpy(), users.index.get_level_values("group")
    traits = {"flagged at": users["flagged_at"].dt.floor("D").astype("str")}
    traits |= {str(name): grouped(users[name]) for name in users if name not in KINDS["users"] and name != COLUMN}
    counts = {name: pd.crosstab(values.to_numpy()[~moved], group[~moved]) for name, values in traits.items()}
    # Who was chosen among those still waiting has not moved before: that is no difference between people.
    if group[moved].nunique() > 1:
        counts["moved before"] = pd.crosstab(moved, group)
    chances = {name: chi2_contingency(each).pvalue for name, each in counts.items() if min(each.shape, default=0) > 1}
    least = min(chances, key=lambda name: chances[name], default="")
    return least.replace("_", " ") if least and chances[least] < _BY_LOT / len(chances) else ""


def _by_shares(parts: dict[str, pd.DataFrame], at: pd.Timestamp, days: int) -> tuple[float, float, float, pd.DataFrame]:
    """Subtract the shares of those still waiting that moved within the days, with the interval of Newcombe (1998)."""
    rows = []
    for group, users in parts.items():
        waiting = users[(users["flagged_at"] <= at) & ~(users["migrated_at"] < at)]
        _require(group, len(waiting))
        rows.append((group, "after", len(waiting), int((waiting["migrated_at"] < at + days * DAY).sum())))
    cells = pd.DataFrame(rows, columns=["group", "period", "users", "migrated"])
    whole, share = cells["users"].to_numpy(), (cells["migrated"] / cells["users"]).to_numpy()
    low, high = wilson(cells["migrated"].to_numpy(), whole, quantile())
    below, above = np.hypot(share - low, (high - share)[::-1])[0], np.hypot(high - share, (share - low)[::-1])[0]
    apart = share[0] - share[1]
    extra, least, most = (float(whole[0] * each) for each in (apart, apart - below, apart + above))
    return extra, least, most, cells.assign(share=share, share_low=low, share_high=high)


def _by_change(parts: dict[str, pd.DataFrame], at: pd.Timestamp, days: int) -> tuple[float, float, float, pd.DataFrame]:
    """Subtract how the migrations a day at risk changed in both groups (difference in differences)."""
    daily = pd.concat([_daily(users, at, days).assign(group=group) for group, users in parts.items()])
    sums = {"users": ("users", "max"), "migrated": ("migrated", "sum"), "user_days": ("user_days", "sum")}
    cells = daily.groupby(["group", "period"], sort=False).agg(**sums).reset_index()
    for group, part in cells.groupby("group", sort=False):
        _require(str(group), int(part["users"].min()), int(part["migrated"].sum()))
    cells["hazard"] = cells["migrated"] / cells["user_days"]
    rate, exposure = cells["hazard"].to_numpy(), float(cells["user_days"][1])
    # Half a migration more keeps a cell without any from looking certain.
    by_counts = ((cells["migrated"] + 0.5) / cells["user_days"] ** 2).sum()
    rates = daily["migrated"] / daily["user_days"].where(daily["user_days"] > 0)
    apart = rates[daily["group"] == _NAMES[0]] - rates[daily["group"] == _NAMES[1]]
    by_days = sum(side.var() / max(len(side), 1) for side in (apart[:days].dropna(), apart[days:].dropna()))
    # The wider of two spreads: that of the counts (Poisson) and that of the days.
    effect, half = (rate[1] - rate[0]) - (rate[3] - rate[2]), quantile() * max(by_counts, by_days) ** 0.5
    extra, low, high = (exposure * float(each) for each in (effect, effect - half, effect + half))
    return extra, low, high, cells


def _require(group: str, users: int, moved: int = _EVENTS) -> None:
    if users < _USERS or moved < _EVENTS:
        raise refusal("few_users", group=group, users=users, moved=moved, needed=_USERS, events=_EVENTS)


def _daily(users: pd.DataFrame, at: pd.Timestamp, days: int) -> pd.DataFrame:
    """Count migrations and the days at risk of a group, for each day around the campaign."""
    start, end = (days_since(at, users[name]) for name in ("flagged_at", "migrated_at"))
    found = []
    for day in range(-days, days):
        at_risk = np.clip(np.fmin(end, day + 1) - np.maximum(start, day), 0, None)
        moved = (end >= day) & (end < day + 1) & (start <= end)
        period = "before" if day < 0 else "after"
        found.append((period, int(moved.sum()), float(np.nansum(at_risk)), int((at_risk > 0).sum())))
    return pd.DataFrame(found, columns=["period", "migrated", "user_days", "users"])
