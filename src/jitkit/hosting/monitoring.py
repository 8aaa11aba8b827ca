"""Alert rules and the workbook: what the template deploys, made of the queries in `kql/` and of `alerts.toml`.

    python -m jitkit.hosting.monitoring

writes them into the template again after a change; a test compares. The queries are tested on exported logs with a
local engine and with Microsoft's parser, and have not been run in a workspace of Azure.
"""

from __future__ import annotations

import json
import tomllib
import uuid
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jitkit import kql

__all__ = ["ALERTS", "TEMPLATES", "Alert", "query", "template_files", "workbook"]

TEMPLATES: Final = Path(__file__).parent / "azure"
"""The folder of the template: `main.json`, the same in Bicep, and what both read."""

_DATA: Final = tomllib.loads((files("jitkit.hosting") / "alerts.toml").read_text(encoding="utf-8"))
_FOLDER: Final = Path(__file__).parent / "kql"
_RANGES: Final = tuple(days * 86_400_000 for days in (1, 7, 30, 90))  # milliseconds
_INTRODUCTION: Final = (
    "## Migration: progress and health\n"
    "Figures are as old as the logs: minutes for the endpoint, up to hours for sign-ins. For states and curve, set the "
    "time range to the whole migration. What a figure means is explained in the kit's notebook 08."
)


@dataclass(frozen=True)
class Alert:
    """One rule: a query that returns rows only when something is wrong, and what to do then."""

    name: str
    title: str
    severity: int  # 0 is the worst, 4 the least
    every: str  # how often the query runs, as an ISO 8601 duration
    window: str  # how far back it looks, likewise
    next: str
    query: str


def query(name: str) -> str:
    """Write a query of this engine, or one that the progress report has too, whole. The flag is the example one."""
    own = _FOLDER / f"{name}.kql"
    return kql.whole(own.read_text(encoding="utf-8") if own.is_file() else kql.read(name))


ALERTS: Final = tuple(Alert(name, query=query(name), **rule) for name, rule in _DATA["alerts"].items())
"""The rules, the most urgent first."""


def workbook() -> dict[str, Any]:
    """Make the workbook: a time range, and one panel a question."""
    times = {
        "id": _id("times"),
        "version": "KqlParameterItem/1.0",
        "name": "Time",
        "label": "Time range",
        "type": 4,
        "isRequired": True,
        "value": {"durationMs": _RANGES[2]},
        "typeSettings": {
            "selectableValues": [{"durationMs": each} for each in _RANGES],
            "allowCustom": True,
        },
    }
    head = {"version": "KqlParameterItem/1.0", "parameters": [times], "style": "pills", "queryType": 0}
    items: list[dict[str, Any]] = [
        {"type": 1, "name": "introduction", "content": {"json": _INTRODUCTION}},
        {"type": 9, "name": "times", "content": head | {"resourceType": "microsoft.operationalinsights/workspaces"}},
    ]
    items += [{"type": 3, "name": panel["query"], "content": _panel(panel)} for panel in _DATA["panels"]]
    return {"version": "Notebook/1.0", "items": items, "isLocked": False}


def _panel(panel: dict[str, str]) -> dict[str, Any]:
    return {
        "version": "KqlItem/1.0",
        "query": query(panel["query"]),
        "size": 0,
        "title": panel["title"],
        "timeContextFromParameter": "Time",
        "queryType": 0,
        "resourceType": "microsoft.operationalinsights/workspaces",
        "visualization": panel["chart"],
    }


def _id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.workbook.jitkit"))


def template_files() -> dict[str, str]:
    """Write the files of the template that are made of data, by name: what Bicep reads, and the JSON that holds it."""
    alerts = [vars(alert) for alert in ALERTS]
    template = json.loads((TEMPLATES / "main.json").read_text(encoding="utf-8"))
    template["variables"] |= {"alerts": alerts, "workbook": workbook()}
    made = {"alerts.json": alerts, "workbook.json": workbook(), "main.json": template}
    return {name: f"{json.dumps(content, indent=2, ensure_ascii=False)}\n" for name, content in made.items()}


if __name__ == "__main__":
    for name, text in template_files().items():
        (TEMPLATES / name).write_text(text, encoding="utf-8")
