"""How much a caller may ask of Graph: resource units, writes, and the limits of single APIs.

Figures, costs and headers: Microsoft Graph documentation, "Microsoft Graph service-specific throttling limits"; the
body of the refusal: "Microsoft Graph throttling guidance". Whatever is refused counts too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from jitkit.rehearsal import switches
from jitkit.rehearsal.directory import Directory
from jitkit.rehearsal.graph.wire import GraphError

# At most so many users, and the units that such a tenant has in ten seconds.
_SIZES = ((49, 3_500), (500, 5_000), (math.inf, 8_000))
_DEAR = re.compile(
    r"/(?:users|applications|oauth2PermissionGrants"
    r"|applications/[^/]+/extensionProperties|servicePrincipals/[^/]+/appRoleAssignments)",
    re.IGNORECASE,
)
_MANAGED = re.compile(r"/identity/(?:customAuthenticationExtensions|authenticationEventListeners)\b", re.IGNORECASE)
_REPORTS = re.compile(r"/auditLogs/", re.IGNORECASE)
# `x-ms-throttle-limit-percentage` is sent from the first of these on and never says more than the second.
_NEAR, _MOST = 0.8, 1.8


@dataclass(frozen=True)
class _Limit:
    """So many units in so many seconds, for one app in the tenant or for all of them together."""

    name: str
    units: float
    seconds: float
    whole_tenant: bool = False
    information: str = ""


_WRITES = (
    _Limit("Write", 3_000, 150, information="WriteLimitExceeded"),
    _Limit("Write", 18_000, 300, whole_tenant=True, information="WriteLimitExceeded"),
)
_MANAGEMENT = (_Limit("Management", 200, 60), _Limit("Management", 300, 60, whole_tenant=True))
_REPORTING = (_Limit("Reports", 5, 10),)


@dataclass
class _Bucket:
    """What is left of a limit; it refills evenly, and goes below nothing while refused requests come in."""

    left: float
    at: float

    def take(self, limit: _Limit, units: float, now: float) -> float:
        """Spend units; return how much of the limit is used then, where more than 1 means refused."""
        refilled = self.left + max(0.0, now - self.at) * limit.units / limit.seconds
        self.left, self.at = min(limit.units, refilled), now
        used = 1 - (self.left - units) / limit.units
        self.left = max(self.left - units, limit.units * (1 - _MOST))
        return used

    def wait(self, limit: _Limit) -> int:
        """The seconds after which a unit is there again."""
        return max(1, math.ceil((1 - self.left) * limit.seconds / limit.units))


class Throttle:
    """Count what every app asks for, in memory and by the tenant's clock."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, _Limit], _Bucket] = {}

    def spend(
        self, directory: Directory, app_id: str, method: str, path: str, query: Mapping[str, str]
    ) -> dict[str, str]:
        """Count one request.

        Args:
            directory: the tenant's directory.
            app_id: the app that sends it.
            method: the HTTP method.
            path: the path after the version.
            query: the query options.

        Returns:
            The headers that tell what it cost.

        Raises:
            GraphError: 429, when a limit is used up.
        """
        if not switches.is_on(directory, "graph_throttling"):
            return {}
        if _REPORTS.match(path):
            return self._count(directory, app_id, dict.fromkeys(_REPORTING, 1))
        if _MANAGED.match(path):
            return self._count(directory, app_id, dict.fromkeys(_MANAGEMENT, 1))
        cost = units(method, path, query)
        spent = {_resource_units(directory): cost} | (dict.fromkeys(_WRITES, 1) if method != "GET" else {})
        return {"x-ms-resource-unit": str(cost), **self._count(directory, app_id, spent)}

    def _count(self, directory: Directory, app_id: str, spent: Mapping[_Limit, int]) -> dict[str, str]:
        now, used, refused = directory.clock.now(), 0.0, None
        for limit, amount in spent.items():
            who = "" if limit.whole_tenant else app_id
            bucket = self._buckets.setdefault((who, limit), _Bucket(limit.units, now))
            share = bucket.take(limit, amount, now)
            used = max(used, share) if limit.information else used
            if share > 1 and refused is None:
                refused = (limit, bucket.wait(limit))
        near = {"x-ms-throttle-limit-percentage": f"{min(used, _MOST):.2f}"} if used >= _NEAR else {}
        if refused is None:
            return near
        limit, wait = refused
        headers = {"Retry-After": str(wait)}
        if limit.information:
            scope = "Tenant" if limit.whole_tenant else "Tenant_Application"
            where = f"{scope}/{limit.name}/{app_id}/{directory.meta('tenant_id')}"
            headers |= {"x-ms-throttle-scope": where, "x-ms-throttle-information": limit.information, **near}
        raise GraphError(
            429,
            "TooManyRequests",
            "Please retry again later.",
            headers=headers,
            inner={"code": "429", "message": "Please retry after", "status": "429"},
        )


def units(method: str, path: str, query: Mapping[str, str]) -> int:
    """Tell what a request costs, in resource units.

    Args:
        method: the HTTP method.
        path: the path after the version.
        query: the query options.
    """
    if method != "GET":
        return 1
    cost = 2 if _DEAR.fullmatch(path) else 1
    cost += ("$expand" in query) - ("$select" in query)
    top = query.get("$top", "")
    cost -= top.isdigit() and int(top) < 20
    return max(1, cost)


def _resource_units(directory: Directory) -> _Limit:
    """The limit on resource units goes by how many users the tenant has."""
    users = directory.rows("SELECT count(*) AS n FROM (SELECT 1 FROM users LIMIT 501)")[0]["n"]
    allowed = next(allowed for most, allowed in _SIZES if users <= most)
    return _Limit("ReadWrite", allowed, 10, information="ResourceUnitLimitExceeded")
