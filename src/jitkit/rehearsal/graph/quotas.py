"""How much fits: objects into the tenant, extension values onto an object.

Figures: Microsoft Learn, "Service limits" of external tenants; Graph documentation, "Add custom data to resources by
using extensions". The refusal of an object that no longer fits: [observed]. That of an extension value: [assumed],
after the one of other collections that are full.
"""

from __future__ import annotations

from collections.abc import Iterable

from jitkit.rehearsal import switches
from jitkit.rehearsal.directory import Directory
from jitkit.rehearsal.graph.wire import GraphError

_VALUES = 100


def size(directory: Directory) -> tuple[int, int]:
    """Tell how full the tenant is.

    Args:
        directory: the tenant's directory.

    Returns:
        How many objects it has, those in the recycle bin among them, and how many it may have.
    """
    found = directory.rows(
        "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM objects WHERE kind IN "
        "('application', 'group', 'servicePrincipal')) AS n"
    )
    return int(found[0]["n"]), int(switches.read(directory, "directory_quota"))


def check_room(directory: Directory) -> None:
    """Refuse one more object in a tenant that is full. Raises GraphError 403."""
    used, total = size(directory)
    if used >= total:
        raise GraphError(
            403,
            "Directory_QuotaExceeded",
            "The directory object quota limit for the Tenant has been exceeded. Please ask your administrator to "
            "increase the quota limit or delete objects to reduce the used quota.",
        )


def check_values(names: Iterable[str]) -> None:
    """Refuse more extension values than an object holds; those of deleted extensions count.

    Args:
        names: the names of the properties that have a value.

    Raises:
        GraphError: 403.
    """
    count = sum(name.startswith("extension_") for name in names)
    if count > _VALUES:
        raise GraphError(
            403,
            "Directory_QuotaExceeded",
            f"Unable to perform operation as '{count}' would exceed the maximum quota count '{_VALUES}' for extension "
            "properties.",
        )
