"""From draws of a survival course to paths of the count of migrated users."""

from __future__ import annotations

from typing import Final

import numpy as np

from jitkit.progress.history import Floats, History
from jitkit.progress.rhythm import Rhythm
from jitkit.progress.survival import Survival

__all__ = ["never_counts", "paths"]

_WAVES: Final = 24
_PACE: Final = 0.1  # how much people may change their pace, as the sigma of a logarithm: a holiday, a new app


def paths(history: History, rhythm: Rhythm, survival: Survival, days: int, seed: int = 0) -> Floats:
    """Play the coming days once for each draw.

    Returns:
        how many more are moved after 0, 1 … `days` days (columns) in each draw (rows).
    """
    rng = np.random.default_rng(seed)
    ahead = history.now + np.arange(days + 1.0)
    flagged, waiting = _waves(history)
    expected = np.zeros((len(survival.never), days + 1))
    for at, count in zip(flagged, waiting, strict=True):
        age = rhythm.time(np.maximum(ahead, at)) - rhythm.time(np.array([at]))
        share = survival.at(age)
        expected += count * (1 - share / np.maximum(share[:, :1], 1e-12))
    total = waiting.sum()
    chance = np.clip(np.diff(expected, axis=1) / np.maximum(total - expected[:, :-1], 1e-9), 0, 1)
    pace = rng.normal(-(_PACE**2) / 2, _PACE, (len(chance), 1))
    day = rng.normal(-(rhythm.noise**2) / 2, rhythm.noise, chance.shape)
    chance = 1 - (1 - chance) ** np.exp(pace + day)
    left = np.full(len(chance), round(total))
    grown = np.zeros((len(chance), days + 1))
    for place in range(days):
        left = left - rng.binomial(left, chance[:, place])
        grown[:, place + 1] = total - left
    return grown


def never_counts(history: History, rhythm: Rhythm, survival: Survival) -> Floats:
    """Count, for each draw, the waiting users who never return."""
    flagged, waiting = _waves(history)
    age = np.maximum(rhythm.time(np.array([history.now])) - rhythm.time(flagged), 0)
    share = survival.at(age)
    return np.asarray((np.minimum(survival.never[:, None] / np.maximum(share, 1e-12), 1) * waiting).sum(axis=1))


def _waves(history: History) -> tuple[Floats, Floats]:
    """Gather the waiting users into few waves, neighbours together, planned ones apart."""
    some = history.waiting > 0
    flagged, waiting = history.flagged[some], history.waiting[some]
    if len(flagged) <= _WAVES:
        return flagged, waiting
    middle = np.cumsum(waiting) - waiting / 2
    group = (middle / waiting.sum() * _WAVES).astype(int) * 2 + (flagged > history.now)
    _, group = np.unique(group, return_inverse=True)
    size = np.bincount(group, waiting)
    return np.bincount(group, flagged * waiting) / size, size.astype(float)
