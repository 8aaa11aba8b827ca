"""Find ids among ids by Apache Arrow: pandas would make an object of every one of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["isin", "places"]


def places(asked: pd.Series | pd.Index, known: pd.Series | pd.Index) -> np.ndarray:
    """Say where each text stands among others; -1 where it does not, or is missing.

    Args:
        asked: the texts to look up.
        known: the texts to look in; of equal ones the first is found.
    """
    found = pc.index_in(_texts(asked), value_set=_texts(known), skip_nulls=True)
    result: np.ndarray = found.fill_null(-1).to_numpy()
    return result


def isin(asked: pd.Series, known: pd.Series) -> np.ndarray:
    """Mark the texts that stand among others."""
    return places(asked, known) >= 0


def _texts(column: pd.Series | pd.Index) -> pa.Array:
    texts = pa.array(column.astype("str").array, pa.large_string())
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
