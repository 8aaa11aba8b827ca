"""How long people take until they come, when some of them never do.

SurPyval fits three limited-failure-population families to the counts (Weibull, log-normal, log-logistic); emcee draws
from what the counts leave open around each fit. No family is right. A likelihood would soon forget that, so it is
coarsened (Miller and Dunson, Robust Bayesian inference via coarsening, 2019): it never tells more than some hundreds of
moves would, however many there are, and the families are weighed by it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import surpyval
from scipy.special import expit, logit, logsumexp, softmax
from scipy.stats import multivariate_t

from jitkit.progress.history import Floats, History
from jitkit.progress.rhythm import Rhythm

__all__ = ["FAMILIES", "Observed", "Survival", "fit_survival", "observe"]

DRAWS: Final = 600
_COARSE: Final = 400.0  # moves that the likelihood is worth at most
_FEW: Final = 10  # moves, below which there is nothing to fit: what is plausible is the start
_CLOUD: Final = 1500
_ROUNDS: Final = (0.3, 0.6, 1.0, 1.0)  # how far the weights are trusted to say where to look next


@dataclass(frozen=True)
class _Family:
    """A distribution of SurPyval and what is plausible for people who return.

    Args:
        name: its name in SurPyval.
        location: whether its first parameter is the logarithm of a time already.
        shape: the middle of what is plausible for its second parameter, and its sigma on the logarithmic scale.
    """

    name: str
    location: bool
    shape: tuple[float, float]

    @property
    def fitter(self) -> Any:
        return getattr(surpyval, self.name)

    def parameters(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """Turn unbounded coordinates into the two parameters and the share that returns."""
        return (theta[:, 0] if self.location else np.exp(theta[:, 0])), np.exp(theta[:, 1]), expit(theta[:, 2])

    def coordinates(self, parameters: Floats, returning: float) -> Floats:
        """Turn parameters and share into unbounded coordinates."""
        first = parameters[0] if self.location else np.log(parameters[0])
        return np.array([first, np.log(parameters[1]), logit(np.clip(returning, 0.02, 0.98))])

    def survival(self, theta: Floats, time: Floats) -> Floats:
        """Share not moved by each time (columns), for each row of coordinates."""
        first, second, returning = self.parameters(theta)
        plain = self.fitter.sf(time[None, :], first[:, None], second[:, None])
        return np.asarray(1 - returning[:, None] * (1 - plain))

    def log_prior(self, theta: Floats) -> Floats:
        middle, sigma = self.shape
        # The last two terms make every share of returning people equally plausible.
        return np.asarray(
            -0.5 * ((theta[:, 0] - np.log(20)) / 1.5) ** 2
            - 0.5 * ((theta[:, 1] - np.log(middle)) / sigma) ** 2
            - np.logaddexp(0, theta[:, 2])
            - np.logaddexp(0, -theta[:, 2])
        )


FAMILIES: Final = (
    _Family("Weibull", False, (0.7, 0.35)),
    _Family("LogNormal", True, (1.9, 0.35)),
    _Family("LogLogistic", False, (0.85, 0.35)),
)


@dataclass(frozen=True, eq=False)
class Observed:
    """What the fit sees, on the migration's clock.

    Args:
        begin: when each interval began.
        end: when it ended.
        moved: users who moved inside it.
        last: how long others were seen.
        waiting: how many of them there are.
    """

    begin: Floats
    end: Floats
    moved: Floats
    last: Floats
    waiting: Floats


@dataclass(frozen=True, eq=False)
class Survival:
    """Draws of a course that the counts leave open.

    Args:
        parts: family and coordinates of its draws, a row each.
    """

    parts: tuple[tuple[_Family, Floats], ...]

    def at(self, time: Floats) -> Floats:
        """Share not moved by each time on the clock (columns), for each draw (rows)."""
        return np.concatenate([family.survival(theta, time) for family, theta in self.parts])

    @property
    def never(self) -> Floats:
        """Share that never returns, for each draw."""
        return np.concatenate([1 - family.parameters(theta)[2] for family, theta in self.parts])


def observe(history: History, rhythm: Rhythm) -> Observed:
    """Put the counts on the migration's clock; who came for a reason of an odd day leaves the sight on that day."""
    started = history.started
    days = np.arange(history.days, dtype=float)
    flagged = rhythm.time(history.flagged[started])[:, None]
    begin = np.maximum(rhythm.time(days)[None, :] - flagged, 0)
    end = np.maximum(rhythm.time(np.minimum(days + 1, history.now))[None, :] - flagged, begin)
    kept = history.moved[started] * rhythm.kept
    lost = history.moved[started] - kept
    now = np.broadcast_to(rhythm.time(np.array([history.now])) - flagged, (len(flagged), 1))
    some = (kept > 0) & (end > begin)
    begin_, end_, moved = _grouped(begin[some], end[some], kept[some])
    gone = lost > 0
    last, _, waiting = _grouped(
        np.concatenate([now.ravel(), begin[gone]]),
        np.concatenate([now.ravel(), begin[gone]]),
        np.concatenate([history.waiting[started], lost[gone]]),
    )
    return Observed(begin_, end_, moved, last, waiting)


def _grouped(begin: Floats, end: Floats, count: Floats) -> tuple[Floats, Floats, Floats]:
    """Add up equal intervals; when there are many, on a grid that is fine at first and coarser later."""
    if len(begin) > 80:
        grid = np.concatenate([np.arange(0, 4, 0.25), 4 * 1.06 ** np.arange(120)])
        points = np.append(0, (grid[1:] + grid[:-1]) / 2)
        low = np.searchsorted(points, begin, side="right") - 1
        high = np.where(end > begin, np.maximum(np.searchsorted(points, end, side="right") - 1, low + 1), low)
        begin, end = grid[low], grid[high]
    pairs, place = np.unique(np.stack([begin, end]), axis=1, return_inverse=True)
    return pairs[0], pairs[1], np.bincount(place.ravel(), count, minlength=pairs.shape[1]).astype(float)


def fit_survival(seen: Observed, seed: int = 0, draws: int = DRAWS) -> Survival:
    """Fit every family and draw from what the counts leave open.

    Args:
        seen: the counts.
        seed: the same seed draws the same.
        draws: how many.
    """
    tempered = _COARSE / (_COARSE + seen.moved.sum())
    clouds = [_explore(family, seen, tempered, seed) for family in FAMILIES]
    evidence = np.array([logsumexp(weight) for _, weight in clouds])
    ends = np.round(np.cumsum(softmax(evidence)) * draws).astype(int)
    parts = []
    for family, (theta, weight), share in zip(FAMILIES, clouds, np.diff(np.append(0, ends)), strict=True):
        if share:
            steps = (np.arange(share) + 0.5) / share
            places = np.searchsorted(np.cumsum(softmax(weight)), steps).clip(max=len(theta) - 1)
            parts.append((family, theta[places]))
    return Survival(tuple(parts))


def _explore(family: _Family, seen: Observed, tempered: float, seed: int) -> tuple[Floats, Floats]:
    """Draw one family's coordinates around SurPyval's fit, nearer to what is plausible each round.

    Returns:
        the coordinates, a row each, and the logarithms of their weights.
    """
    events, times = len(seen.begin), np.concatenate([seen.begin, seen.end, seen.last])
    rng = np.random.default_rng(seed)

    def height(theta: Floats) -> Floats:
        survival = family.survival(theta, times)
        inside = survival[:, :events] - survival[:, events : 2 * events]
        told = np.log(np.maximum(inside, 1e-300)) @ seen.moved
        told += np.log(np.maximum(survival[:, 2 * events :], 1e-300)) @ seen.waiting
        return np.asarray(tempered * told + family.log_prior(theta))

    centre, spread = _fit(family, seen), np.diag([0.5, 0.2, 1.0]) ** 2
    for trust in _ROUNDS:
        around = multivariate_t(centre, spread, df=5, seed=rng)
        theta = around.rvs(_CLOUD)
        weight = height(theta) - around.logpdf(theta)
        share = softmax(trust * weight)
        centre = share @ theta
        spread = np.cov(theta.T, aweights=share) * 1.2 + 1e-6 * np.eye(3)
    return theta, weight


def _fit(family: _Family, seen: Observed) -> Floats:
    plausible = np.array([np.log(20), np.log(family.shape[0]), 0.0])
    if seen.moved.sum() < _FEW:
        return plausible
    moved, waiting = (np.round(counts).astype(int) for counts in (seen.moved, seen.waiting))
    with warnings.catch_warnings():
        # SurPyval warns where the share that returns is not told by the counts; the draws show that.
        warnings.simplefilter("ignore")
        try:
            model = family.fitter.fit(
                xl=np.concatenate([seen.begin[moved > 0], seen.last[waiting > 0]]),
                xr=np.concatenate([seen.end[moved > 0], np.full((waiting > 0).sum(), np.inf)]),
                n=np.concatenate([moved[moved > 0], waiting[waiting > 0]]),
                lfp=True,
            )
        except ValueError:
            # Moves on one or two days alone leave every course open, and SurPyval refuses them.
            return plausible
    return family.coordinates(model.params, model.lfp_p)
