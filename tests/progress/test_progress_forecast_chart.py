"""The forecast as a picture with words."""

from __future__ import annotations

import io

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from jitkit.progress.forecast import Forecast
from jitkit.progress.forecast_chart import forecast_chart

CURVE = pd.DataFrame({"time": pd.date_range("2026-03-01", periods=30, tz="UTC"), "migrated": range(0, 300, 10)})
AS_OF = pd.Timestamp("2026-03-30T00:00Z")


def ahead() -> Forecast:
    days = pd.DataFrame({"date": pd.date_range("2026-03-30", periods=61, tz="UTC")})
    days["migrated_low"] = 290 + days.index
    days["migrated"] = 290 + 2 * days.index
    days["migrated_high"] = 290 + 3 * days.index
    return Forecast(AS_OF, 500, 290, days=days, never_return={"low": 0.1, "estimate": 0.2, "high": 0.3})


def test_the_words_are_made_of_the_numbers() -> None:
    chart = forecast_chart(ahead(), CURVE)
    assert chart.title == "Migrated: 290 of 500 users, and what comes · as of 30 Mar 2026 00:00 UTC"
    assert chart.alt == (
        "290 of 500 users are migrated. On 29 Apr 2026 it will be about 350: between 320 and 380. "
        "By 29 May 2026 it will be about 410 (350 to 470). The shaded range holds the truth about 8 times in 10. "
        "About 20 % of all (10 % to 30 %) never return."
    )
    assert chart.data.iloc[1].tolist() == ["2026-04-06", 297, 304, 311]


def test_it_is_a_picture_on_its_own_or_on_given_axes() -> None:
    assert Image.open(io.BytesIO(forecast_chart(ahead(), CURVE).png)).width > 600
    ax = Figure().subplots()
    forecast_chart(ahead(), CURVE, ax=ax)
    assert ax.get_ylim()[0] == 0
    assert min(text.get_fontsize() for text in [*ax.get_xticklabels(), *ax.texts, ax.xaxis.label]) >= 10


def test_when_it_is_too_early_the_chart_says_so() -> None:
    chart = forecast_chart(Forecast(AS_OF, 500, 290, too_early="290 users have moved."), CURVE)
    assert chart.alt == "It is too early to tell: 290 users have moved."
    assert Image.open(io.BytesIO(chart.png)).format == "PNG"


def test_an_empty_migration_has_a_chart() -> None:
    chart = forecast_chart(Forecast(None, 0, 0, too_early="no user is in scope."), CURVE.head(0))
    assert "no user is in scope" in chart.alt
