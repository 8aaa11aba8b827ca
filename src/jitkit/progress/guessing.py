"""When somebody tried a list of stolen names and passwords."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from jitkit.progress.abuse import UNKNOWN_NAME, WRONG_PASSWORD
from jitkit.progress.tables import Tables, micros, once

__all__ = ["bursts"]

_HOUR: Final = 3600 * 1_000_000
# People mistype their own name now and then; a list knows names of elsewhere, hour after hour.
_FEWEST: Final = 10
_SHARE: Final = 0.25
_APART: Final = 2
_COLUMNS: Final = dict.fromkeys(("since", "until"), pd.DatetimeTZDtype("us", "UTC")) | dict.fromkeys(
    ("unknown", "wrong", "sign_ins"), "int64"
)


@once
def bursts(tables: Tables) -> pd.DataFrame:
    """Find the hours in which many sign-ins used names that nobody has.

    An hour counts when ten such sign-ins or more are at least a quarter of all; hours with at most one other between
    them are one burst.

    Returns:
        `since`, `until` (UTC, the first and last such sign-in), `unknown`, `wrong` (wrong passwords in these hours),
        `sign_ins` (all in these hours); in the order of time.
    """
    codes = tables.sign_ins["result_code"]
    unknown = (codes == UNKNOWN_NAME).fillna(False).to_numpy(dtype=bool)
    wrong = (codes == WRONG_PASSWORD).fillna(False).to_numpy(dtype=bool)
    times = micros(tables.sign_ins["time"])
    hours, places = np.unique(times // _HOUR, return_inverse=True)
    names = np.bincount(places[unknown], minlength=len(hours))
    whole = np.bincount(places, minlength=len(hours))
    marked = (names >= _FEWEST) & (names >= _SHARE * whole)
    burst = np.cumsum(np.diff(hours[marked], prepend=-10) > _APART)
    of_row = np.zeros(len(hours), dtype="int64")
    of_row[marked] = burst
    rows = []
    for number in range(1, int(burst.max(initial=0)) + 1):
        inside = of_row[places] == number
        seen = times[inside & unknown]
        ends = (pd.Timestamp(int(time), unit="us", tz="UTC") for time in (seen[0], seen[-1]))
        rows.append((*ends, int((inside & unknown).sum()), int((inside & wrong).sum()), int(inside.sum())))
    return pd.DataFrame(rows, columns=[*_COLUMNS]).astype(_COLUMNS)
