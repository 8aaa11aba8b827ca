"""The tenant itself: Graph v1.0 `/domains` and `/organization`."""

from __future__ import annotations

from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph import odata, quotas
from jitkit.rehearsal.graph.wire import Answer, Call, GraphRoute, not_found

_READ_DOMAINS = ("Domain.Read.All", "Domain.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All")
_READ_ORGANIZATION = ("Organization.Read.All", "Directory.Read.All", "Directory.ReadWrite.All", "Application.Read.All")


def routes() -> list[GraphRoute]:
    """The operations on domains and the organization."""
    return [
        GraphRoute("GET", "/domains", list_domains, _READ_DOMAINS, "List domains"),
        GraphRoute("GET", "/domains/{id}", get_domain, _READ_DOMAINS, "Get domain"),
        GraphRoute("GET", "/organization", list_organization, _READ_ORGANIZATION, "List organization"),
        GraphRoute("GET", "/organization/{id}", get_organization, _READ_ORGANIZATION, "Get organization"),
    ]


def list_domains(call: Call) -> Answer:
    """List the tenant's domains."""
    return odata.page(call, odata.of_kind("domain", "domains", "Domain"), odata.body_of)


def get_domain(call: Call) -> Answer:
    """Read a domain by its name."""
    for item in call.directory.all("domain"):
        if item["id"].lower() == call.ids["id"].lower():
            return odata.one(call, "domains", item, odata.selected(call))
    raise not_found(call.ids["id"])


def list_organization(call: Call) -> Answer:
    """List the one organization."""
    items = odata.of_kind("organization", "organization", "Organization")
    return odata.page(call, items, lambda row: _with_quota(call, odata.body_of(row)))


def get_organization(call: Call) -> Answer:
    """Read the organization by the tenant id."""
    found = call.directory.get("organization", call.ids["id"])
    if found is None:
        raise not_found(call.ids["id"])
    return odata.one(call, "organization", _with_quota(call, found), odata.selected(call))


def _with_quota(call: Call, body: Body) -> Body:
    used, total = quotas.size(call.directory)
    return {**body, "directorySizeQuota": {"used": used, "total": total}}
