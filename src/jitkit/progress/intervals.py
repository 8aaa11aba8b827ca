"""Shares with the uncertainty that their number of users leaves."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

__all__ = ["kaplan_meier", "quantile", "wilson"]


def quantile(confidence: float, comparisons: int = 1) -> float:
    """Give the normal quantile of a two-sided interval, wide enough for several at once (Bonferroni)."""
    return NormalDist().inv_cdf(1 - (1 - confidence) / 2 / comparisons)


def wilson(hits: np.ndarray, whole: np.ndarray, z: float) -> tuple[np.ndarray, np.ndarray]:
    """Bound shares after Wilson (1927): never below 0 or above 1, and usable for few users.

    Args:
        hits: how many.
        whole: of how many; above zero.
        z: the normal quantile.

    Returns:
        the lower and upper ends.
    """
    share = hits / whole
    middle = (share + z**2 / (2 * whole)) / (1 + z**2 / whole)
    half = z / (1 + z**2 / whole) * np.sqrt(share * (1 - share) / whole + z**2 / (4 * whole**2))
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def kaplan_meier(days: np.ndarray, moved: np.ndarray, at: float, z: float) -> tuple[float, float, float]:
    """Estimate the share that has moved so many days after the start, when some were watched for less time.

    Args:
        days: how long each user was watched, up to the migration if there was one.
        moved: whether it ended in a migration.
        at: the days.
        z: the normal quantile.

    Returns:
        the share, and its lower and upper ends (Greenwood's variance on the log-log scale).
    """
    order = np.argsort(days, kind="stable")
    days, moved = days[order], moved[order]
    times, starts = np.unique(days, return_index=True)
    events = np.add.reduceat(moved.astype("int64"), starts) if len(starts) else np.zeros(0, dtype="int64")
    seen = (times <= at) & (events > 0)
    risk, died = (len(days) - starts)[seen], events[seen]
    if not len(died):
        return 0.0, *_ends(0, max(len(days), 1), z)
    left = float(np.prod(1 - died / risk))
    if left <= 0:
        return 1.0, *_ends(len(days), len(days), z)
    spread = z * np.sqrt(np.sum(died / (risk * (risk - died)))) / abs(np.log(left))
    low, high = 1 - left ** np.exp(-spread), 1 - left ** np.exp(spread)
    return 1 - left, float(min(low, high)), float(max(low, high))


def _ends(hits: int, whole: int, z: float) -> tuple[float, float]:
    low, high = wilson(np.array([hits]), np.array([whole]), z)
    return float(low[0]), float(high[0])
