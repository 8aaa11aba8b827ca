"""Which apps a listener or a user flow is for: the `conditions` that both resources have."""

from __future__ import annotations

from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph.wire import GraphError


def complete(body: Body) -> Body:
    """Fill in, in place, what a caller left out of `conditions.applications` or set to null; return the body.

    Raises:
        GraphError: 400, when an app has no appId.
    """
    conditions = body.get("conditions") or {}
    applications = conditions.get("applications") or {}
    body["conditions"] = {
        **conditions,
        "applications": {"includeAllApplications": False, "includeApplications": [], **applications},
    }
    if not all(each.get("appId") for each in included(body)):
        raise GraphError(400, "BadRequest", "The property 'appId' of an included application is required.")
    return body


def included(body: Body) -> list[Body]:
    """The apps of a complete body, as the list that is stored."""
    applications: list[Body] = body["conditions"]["applications"]["includeApplications"]
    return applications
