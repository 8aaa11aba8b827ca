"""Look at the numbers under columns, and find ids among ids by Apache Arrow: no object is made of any of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["isin", "micros", "places", "sorted_texts"]


def places(asked: pd.Series | pd.Index, known: pd.Series | pd.Index) -> np.ndarray:
    """Say where each text stands among others; -1 where it does not, or is missing.

    Args:
        asked: the texts to look up.
        known: the texts to look in; of equal ones the first is found.
    """
    found = pc.index_in(_texts(asked), value_set=_texts(known), skip_nulls=True)
    rows: np.ndarray = found.fill_null(-1).to_numpy()
    return rows


def isin(asked: pd.Series, known: pd.Series) -> np.ndarray:
    """Mark the texts that stand among others."""
    found: np.ndarray = places(asked, known) >= 0
    return found


def micros(times: pd.Series) -> np.ndarray:
    """Give times with a zone as microseconds since the epoch; the smallest number is no time."""
    numbers: np.ndarray = pd.DatetimeIndex(times).as_unit("us").asi8
    return numbers


def sorted_texts(texts: pd.Index) -> pd.Index:
    """Give each text once, in alphabetical order; an empty or missing one is none."""
    different = _texts(texts).unique()
    different = different.filter(pc.not_equal(different, ""))
    ordered: pd.Index = pd.Index(different.take(pc.sort_indices(different)), dtype="str")
    return ordered


def _texts(column: pd.Series | pd.Index) -> pa.Array:
    texts = pa.array(column.astype("str").array, pa.large_string())
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
