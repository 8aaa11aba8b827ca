"""The custom authentication extension, the tenant's own verdict on it, and the listener that leads to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.checks.finding import Finding, fault, fine, read

if TYPE_CHECKING:
    from helpers.kit import Session
    from helpers.tenant.policies import EventListener, Extension

_AGAIN = "Run notebook 03 again, or `await s.policies.{}.ensure()`."


async def look(s: Session) -> list[Finding]:
    """Check them.

    Args:
        s: the open session.
    """
    extension, problems = await read("custom authentication extension", s.policies.extension.show)
    found = problems or (_extension(s, extension) if extension else [])
    if extension:
        verdict, problems = await read("the tenant's validation of it", s.policies.extension.check)
        found += problems
        if verdict:
            found += [
                fault("the tenant's validation of it", f"{code}: {words}", str(mend))
                for _, code, words, mend in verdict.rows
            ] or [fine("the tenant's validation of it", "it finds nothing wrong")]
    listener, problems = await read("listener", s.policies.listener.show)
    found += problems or (await _listener(s, listener, extension) if listener else [])
    return found


def _extension(s: Session, extension: Extension) -> list[Finding]:
    what = "custom authentication extension"
    if extension.target_url != s.profile.target_url:
        words = f"Entra calls {extension.target_url}; the address chosen in notebook 00 is {s.profile.target_url}."
        return [fault(what, words, f"Choose the right host in notebook 00, then: {_AGAIN.format('extension')}")]
    return [fine(what, f"Entra calls {extension.target_url}")]


async def _listener(s: Session, listener: EventListener, extension: Extension | None) -> list[Finding]:
    found, again = [], _AGAIN.format("listener")
    client, _ = await read("test client", s.apps.client.show)
    flag, _ = await read("migration flag", s.attribute.show)
    if client and client.app_id not in listener.app_ids:
        included = ", ".join(listener.app_ids) or "none"
        words = f"It does not include the test client {client.app_id}: nobody's sign-in there leads to a call. Included"
        found.append(fault("listener: which apps", f"{words}: {included}.", again))
    if flag and listener.migration_property != flag.full_name:
        words = f"It looks at {listener.migration_property}; the flag is {flag.full_name}. Nobody is ever asked about."
        found.append(fault("listener: which flag", words, again))
    if extension and listener.extension_id != extension.extension_id:
        words = f"It calls {listener.extension_id}, not {extension.extension_id}."
        found.append(fault("listener: which extension", words, again))
    if listener.rivals:
        words = f"The same app is covered by {', '.join(listener.rivals)}; the lowest priority number alone is asked."
        found.append(fault("listener: rivals", words, "Remove the app from all listeners but one."))
    return found or [fine("listener", listener.title)]
