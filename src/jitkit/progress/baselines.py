"""The two forecasts that people make without help, to be measured against."""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit

from jitkit.progress.history import Floats, History

__all__ = ["exponential", "straight_line"]

_RECENT: Final = 7


def straight_line(history: History, in_scope: int, days: int) -> Floats:
    """Go on at the pace of the last seven days.

    Returns:
        migrated users after 0, 1 … `days` days, at most `in_scope`.
    """
    moments, counts = _curve(history)
    start = max(history.now - _RECENT, moments[0])
    pace = (counts[-1] - np.interp(start, moments, counts)) / max(history.now - start, 1e-9)
    return np.asarray(np.minimum(counts[-1] + pace * np.arange(days + 1), in_scope))


def exponential(history: History, in_scope: int, days: int) -> Floats:
    """Follow the saturating exponential that is nearest to the curve so far; it goes on from today's count.

    Returns:
        migrated users after 0, 1 … `days` days, at most `in_scope`.
    """
    moments, counts = _curve(history)
    elapsed = moments - moments[0]

    def saturating(time: Floats, ceiling: float, scale: float) -> Floats:
        return np.asarray(ceiling * -np.expm1(-time / scale))

    ends = ([0.0, 0.1], [max(in_scope, 1) * 1.0, 3650.0])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)
            best, _ = curve_fit(saturating, elapsed, counts, p0=(0.7 * ends[1][0], 20.0), bounds=ends)
    except (RuntimeError, ValueError):
        return straight_line(history, in_scope, days)
    grown = saturating(elapsed[-1] + np.arange(days + 1), *best)
    return np.asarray(np.minimum(counts[-1] + grown - grown[0], in_scope))


def _curve(history: History) -> tuple[Floats, Floats]:
    """Migrated users at the first flag and at the end of each day."""
    ends = np.minimum(np.arange(1, history.days + 1), history.now)
    counts = np.cumsum(history.moved.sum(axis=0)) + history.outside_moved
    return np.append(history.flagged.min(), ends), np.append(history.outside_moved, counts)
