"""The custom authentication extension (which address Entra calls) and the listener (for which app and which users)."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple
from uuid import UUID

from msgraph.generated.identity.custom_authentication_extensions.validate_authentication_configuration import (
    validate_authentication_configuration_post_request_body as validation_body,
)
from msgraph.generated.models.on_password_submit_custom_extension import OnPasswordSubmitCustomExtension
from msgraph.generated.models.on_password_submit_listener import OnPasswordSubmitListener

from helpers.tenant import step
from helpers.tenant.apps import ClientApp, ExtensionApp
from helpers.tenant.attribute import MigrationFlag
from helpers.tenant.step import MADE_BY, TAG, ObjectStep
from jitkit import protocol
from jitkit.display import Card, Table
from jitkit.errors import KitError, NotReady, Taken
from jitkit.explanations import fix_for_warning

__all__ = ["EventListener", "Extension", "Findings", "Listener", "PasswordExtension"]

# The how-to's own value. The lowest number among the listeners of an application wins.
PRIORITY: Final = 500
EVERY_APP: Final = "every application"


@dataclass(frozen=True, kw_only=True)
class Extension(Card):
    """The custom authentication extension as the tenant has it."""

    extension_id: str  # its id
    target_url: str  # the address that Entra calls
    resource_id: str  # the identifier URI that Entra's token is for
    warnings: tuple[str, ...] = ()  # what the tenant's own validation warned about when it was created or updated


@dataclass(frozen=True, kw_only=True)
class Findings(Table):
    """What the tenant's own validation says: one row a finding, with what fixes it."""

    errors: tuple[str, ...]  # the codes of what makes callouts fail
    warnings: tuple[str, ...]  # the codes of what the tenant warns about

    def __repr__(self) -> str:
        return f"<Validation: {len(self.errors)} errors, {len(self.warnings)} warnings>"


@dataclass(frozen=True, kw_only=True)
class EventListener(Card):
    """The listener as the tenant has it."""

    listener_id: str  # its id
    migration_property: str  # the full name of the flag that it looks at
    extension_id: str  # the extension that it calls
    app_ids: tuple[str, ...]  # the client ids of the applications it listens to
    # The names of the applications other than the test client that it listens to; every application is EVERY_APP.
    others: tuple[str, ...] = ()
    # Other password-submit listeners that cover an application of this one, each with its priority.
    rivals: tuple[str, ...] = ()


class _Stored(NamedTuple):
    extension: OnPasswordSubmitCustomExtension
    warnings: tuple[str, ...] = ()


class PasswordExtension(ObjectStep[None, _Stored, Extension]):
    """Create, read, check or remove the custom authentication extension. Its name and description mark it."""

    _kind = "custom authentication extension"
    _named = "extension"
    _notebook = "03-policies"

    async def check(self) -> Findings:
        """Let the tenant validate the stored extension. The answer is 200 even when it finds errors, so read it.

        Returns:
            One row a finding: code, words, what to do. No row means that the tenant found nothing.

        Raises:
            NotReady: the extension is not there.
        """
        with step.recording_errors("validate the custom authentication extension") as sent:
            item = self._item(self._complete(*await self._find()))
            return replace(_findings(await item.validate_authentication_configuration.post()), sent=tuple(sent))

    @property
    def _extensions(self) -> Any:
        return self._client.identity.custom_authentication_extensions

    def _item(self, found: _Stored) -> Any:
        return self._extensions.by_custom_authentication_extension_id(found.extension.id or "")

    async def _find(self) -> tuple[None, _Stored | None]:
        named = [each for each in await step.all_pages(self._extensions) if each.display_name == self._name]
        ours = [
            each
            for each in named
            if isinstance(each, OnPasswordSubmitCustomExtension) and TAG in (each.description or "")
        ]
        if len(ours) == 1:
            return None, _Stored(ours[0])
        if named:
            raise step.taken(
                f"{len(ours)} extensions called {self._name!r} were made by this kit."
                if ours
                else f"The name {self._name!r} belongs to an extension that the kit did not make.",
                found=", ".join(str(each.id) for each in named),
                next_step="Choose another name in notebook 00, or delete what is not in use under External Identities >"
                " Custom authentication extensions.",
            )
        return None, None

    async def _create(self, around: None) -> _Stored:
        body = await self._wanted()
        warnings = await self._validate(body)
        return _Stored(await self._extensions.post(body), warnings)

    async def _update(self, around: None, found: _Stored) -> _Stored | None:
        body = await self._wanted()
        values = step.differing(_settings(found.extension), _settings(body))
        if not values:
            return None
        warnings = await self._validate(body)
        does, affected, answer = "Change", "", ""
        if {"Entra calls", "Token is for"} & {label for label, _, _ in values}:
            does, affected, answer = "Move", await self._affected(around, found), self._name
        async with self._changing(f"{does} {self._what}", values, affected, answer):
            await self._item(found).patch(body)
        body.id = found.extension.id
        return _Stored(body, warnings)

    async def _wanted(self) -> OnPasswordSubmitCustomExtension:
        app = await self._other(ExtensionApp).show_with_uri()
        token = {"@odata.type": "#microsoft.graph.azureAdTokenAuthentication", "resourceId": app.identifier_uri}
        body = {
            "displayName": self._name,
            "description": f"Asks the legacy store about passwords of users who are still to be migrated. {MADE_BY}",
            "endpointConfiguration": {
                "@odata.type": "#microsoft.graph.httpRequestEndpoint",
                "targetUrl": self._profile.target_url,
            },
            "authenticationConfiguration": token,
            "clientConfiguration": {
                "timeoutInMilliseconds": protocol.TIMEOUT_MS,
                "maximumRetries": protocol.MAXIMUM_RETRIES,
            },
        }
        return step.model(OnPasswordSubmitCustomExtension, body)

    async def _validate(self, body: OnPasswordSubmitCustomExtension) -> tuple[str, ...]:
        """Let the tenant validate an extension before it is written; raise its errors, return its warnings."""
        pair = validation_body.ValidateAuthenticationConfigurationPostRequestBody(
            endpoint_configuration=body.endpoint_configuration,
            authentication_configuration=body.authentication_configuration,
        )
        findings = _findings(await self._extensions.validate_authentication_configuration.post(pair))
        errors = [row for row in findings.rows if row[0] == "error"]
        if errors:
            raise NotReady(
                "The tenant's validation finds errors, so the extension was not written.",
                service="; ".join(f"{code}: {words}" for _, code, words, _ in errors),
                next_step=" ".join(str(fix) for *_, fix in errors),
            )
        return findings.warnings

    async def _callers(self, found: _Stored) -> list[Any]:
        listeners = await step.all_pages(self._client.identity.authentication_event_listeners)
        return [each for each in listeners if step.calls(each) == found.extension.id]

    async def _affected(self, around: None, found: _Stored) -> str:
        callers = await self._callers(found)
        apps = await self._covered(dict.fromkeys(id for each in callers for id in step.client_ids(each)))
        names = [EVERY_APP for each in callers if _covers_all(each)][:1] or [each.name for each in apps.values()]
        return f"{', '.join(names) or 'no application yet'}; {await self._other(MigrationFlag).people()}"

    async def _require_removable(self, around: None, found: _Stored, *, ours_gone: bool = False) -> None:
        callers = await self._callers(found)
        ours = [each for each in callers if each.id in self._record.read().values()]
        if others := [each for each in callers if each not in ours]:
            raise step.taken(
                f"A listener that the kit did not make on this machine calls {self._what}: without it, sign-ins would"
                " fail with 1003011.",
                found=", ".join(f"{each.display_name} ({each.id})" for each in others),
                next_step="Leave the extension, or delete that listener first if it is not in use.",
            )
        if ours and not ours_gone:
            raise KitError(
                f"The listener {ours[0].display_name!r} still calls this extension: sign-ins would fail with 1003011.",
                next_step="Remove the listener first: `await s.policies.listener.remove()`.",
            )

    def _new_values(self, around: None) -> list[tuple[str, str, str]]:
        return [("Entra calls", "", self._profile.target_url)]

    async def _delete(self, around: None, found: _Stored) -> dict[str, str]:
        await self._item(found).delete()
        return {"Id": found.extension.id or ""}

    def _card(self, around: None, found: _Stored) -> Extension:
        target, resource, timeout, retries = _settings(found.extension).values()
        facts = {
            "Id": found.extension.id or "",
            "Entra calls": str(target),
            "Token is for": str(resource),
            "Waits": f"{timeout:,} ms for an answer; further tries: {retries}"
            if timeout
            else "as long as the service chooses",
        }
        if found.warnings:
            facts["Validation warns"] = " ".join(f"{code}: {fix_for_warning(code)}" for code in found.warnings)
        return Extension(
            title=self._title,
            facts=facts,
            extension_id=found.extension.id or "",
            target_url=str(target),
            resource_id=str(resource),
            warnings=found.warnings,
        )


class _Around(NamedTuple):
    every: list[OnPasswordSubmitListener]  # all password-submit listeners
    covered: dict[str, step.CoveredApp]  # the applications that the kit's one names


class Listener(ObjectStep[_Around, OnPasswordSubmitListener, EventListener]):
    """Create, read or remove the listener. While it is there, sign-ins of flagged users lead to a call."""

    _kind = "listener"
    _named = "listener"
    _notebook = "03-policies"
    _marked = False  # a listener has neither tags nor a description

    async def add(self, app_id: str) -> EventListener:
        """Add an application to those whose users migrate. What the listener covers already stays.

        Args:
            app_id: the client id of the application.

        Returns:
            The listener as it is then; status `updated`, or `reused` where it covers the application already.

        Raises:
            NotReady: the listener or the application is not there.
            WriteNotConfirmed: the person at the keyboard did not allow it.
        """
        with step.recording_errors(f"add an application to {self._what}") as sent:
            around, found = await self._find()
            listener, status = self._complete(around, found), "reused"
            app_id, app = await self._application(app_id)
            if not _covers_all(listener) and app_id not in step.client_ids(listener):
                around.covered[app_id] = app
                wanted = _listening_to(listener, app_id)
                values = [("Listens to", _apps(listener, around.covered), _apps(wanted, around.covered))]
                affected = f"{app.name}; {await self._other(MigrationFlag).people()}"
                async with self._changing(f"Change {self._what}", values, affected, self._name):
                    item = self._listeners.by_authentication_event_listener_id(listener.id or "")
                    # Others may have widened it while the question was open, and a PATCH replaces the whole list.
                    listener = await item.get()
                    wanted = _listening_to(listener, app_id)
                    await item.patch(wanted)
                listener.conditions, status = wanted.conditions, "updated"
                around = _Around(around.every, await self._covered(step.client_ids(listener)))
            return replace(self._card(around, listener), status=status, sent=tuple(sent))

    async def _application(self, app_id: str) -> tuple[str, step.CoveredApp]:
        """Read an application by its client id, and return both; raise NotReady when there is none."""
        with contextlib.suppress(ValueError):
            app_id = str(UUID(app_id.strip()))
            app = (await self._covered([app_id]))[app_id]
            if app.there:
                return app_id, app
        raise NotReady(
            f"No application in this tenant has the client id {app_id!r}.",
            next_step="Copy the Application (client) ID under App registrations; the object id is another one. A"
            " registration that was made through Graph needs a service principal as well.",
        )

    async def remove(self, *, applications: Collection[str] = ()) -> Card:
        """Remove the listener, if the kit made it.

        Args:
            applications: the names of the applications that lose the migration by it, other than the test client.

        Returns:
            A card; status `removed`, `missing`, or `left alone` when the kit did not make it.

        Raises:
            KitError: it covers applications that are not among those names.
        """
        with contextlib.suppress(NotReady, Taken):
            others = (await self.to_remove()).others
            if unnamed := [each for each in others if each not in applications]:
                raise KitError(
                    f"The listener covers more than the test client: {', '.join(unnamed)} would lose the migration, so"
                    " nothing was removed.",
                    next_step="Ask the people who run them. To remove it all the same, name each of them in the call:"
                    f" applications={list(others)!r}.",
                )
        return await super().remove()

    @property
    def _listeners(self) -> Any:
        return self._client.identity.authentication_event_listeners

    async def _find(self) -> tuple[_Around, OnPasswordSubmitListener | None]:
        # A filter by type is not documented, so the kinds are told apart here.
        every = [each for each in await step.all_pages(self._listeners) if isinstance(each, OnPasswordSubmitListener)]
        named = [each for each in every if each.display_name == self._name]
        if len(named) > 1:
            raise step.taken(
                f"{len(named)} password-submit listeners are called {self._name!r}.",
                found=", ".join(f"{each.id} (priority {_priority(each)})" for each in named),
                next_step="Delete all but one with DELETE /identity/authenticationEventListeners/{id} in Graph"
                " Explorer, or choose another name in notebook 00.",
            )
        if not named:
            return _Around(every, {}), None
        # Its name is used unless it calls an extension that is not the kit's; removal wants more than that.
        calls = step.calls(named[0])
        if calls and await self._is_foreign(calls):
            raise step.taken(
                f"The listener {self._name!r} calls an extension that the kit did not make.",
                found=f"{named[0].id}, which calls {calls}",
                next_step="Choose another listener name in notebook 00, or delete that listener if it is not in use.",
            )
        return _Around(every, await self._covered(step.client_ids(named[0]))), named[0]

    async def _is_foreign(self, extension_id: str) -> bool:
        """Return whether an extension is there and is not the kit's."""
        with contextlib.suppress(NotReady):
            if (await self._other(PasswordExtension).show()).extension_id == extension_id:
                return False
        extensions = self._client.identity.custom_authentication_extensions
        found = await step.none_if_absent(extensions.by_custom_authentication_extension_id(extension_id).get())
        return found is not None

    async def _create(self, around: _Around) -> OnPasswordSubmitListener:
        body = await self._wanted(around.covered)
        made = await self._listeners.post(body)
        # The answer to a POST leaves the extension out.
        body.id = made.id
        return body

    async def _update(self, around: _Around, found: OnPasswordSubmitListener) -> OnPasswordSubmitListener | None:
        # What somebody else widened stays, and so does its priority.
        body = await self._wanted(around.covered, found)
        values = step.differing(_aims(found, around.covered), _aims(body, around.covered))
        if not values:
            return None
        affected, answer = "", ""
        if {label for label, _, _ in values} != {"Listens to"}:
            affected, answer = await self._affected(around, found), self._name
        async with self._changing(f"Change {self._what}", values, affected, answer):
            await self._listeners.by_authentication_event_listener_id(found.id or "").patch(body)
        body.id = found.id
        return body

    async def _wanted(
        self, covered: dict[str, step.CoveredApp], found: OnPasswordSubmitListener | None = None
    ) -> OnPasswordSubmitListener:
        flag = await self._other(MigrationFlag).show()
        client = await self._other(ClientApp).show()
        extension = await self._other(PasswordExtension).show()
        every_app = found is not None and _covers_all(found)
        more_apps = step.client_ids(found) if found else ()
        if not every_app:
            more_apps = tuple(dict.fromkeys([*more_apps, client.app_id]))
            covered[client.app_id] = step.CoveredApp(self._profile.names.client_app, ours=True, there=True)
        applications = {"includeAllApplications": every_app, "includeApplications": [{"appId": id} for id in more_apps]}
        body = {
            "displayName": self._name,
            "priority": PRIORITY if found is None else _priority(found),
            "conditions": {"applications": applications},
            "handler": {
                "@odata.type": "#microsoft.graph.onPasswordMigrationCustomExtensionHandler",
                "migrationPropertyId": flag.full_name,
                "customExtension": {
                    "@odata.type": "#microsoft.graph.onPasswordSubmitCustomExtension",
                    "id": extension.extension_id,
                },
            },
        }
        return step.model(OnPasswordSubmitListener, {name: value for name, value in body.items() if value is not None})

    def _new_values(self, around: _Around) -> list[tuple[str, str, str]]:
        names = self._profile.names
        return [("Listens to", "", names.client_app), ("Looks at", "", names.attribute), ("Calls", "", names.extension)]

    async def _affected(self, around: _Around, found: OnPasswordSubmitListener) -> str:
        names = [EVERY_APP] if _covers_all(found) else [each.name for each in around.covered.values()]
        return f"{', '.join(names) or 'no application'}; {await self._other(MigrationFlag).people()}"

    async def _require_removable(
        self, around: _Around, found: OnPasswordSubmitListener, *, ours_gone: bool = False
    ) -> None:
        if not self._record.holds(self._what, found.id or ""):
            raise step.taken(
                f"Nothing on this machine says that the kit made the listener {self._name!r}, so it stays.",
                found=f"{found.id}, for {await self._affected(around, found)}",
                next_step="Remove it on the machine that made it, or delete it with"
                " DELETE /identity/authenticationEventListeners/{id} in Graph Explorer if it is not in use.",
            )

    async def _delete(self, around: _Around, found: OnPasswordSubmitListener) -> dict[str, str]:
        await self._listeners.by_authentication_event_listener_id(found.id or "").delete()
        return {"Id": found.id or "", "Covered": ", ".join(each.name for each in around.covered.values())}

    def _card(self, around: _Around, found: OnPasswordSubmitListener) -> EventListener:
        rivals = tuple(
            f"{each.display_name or each.id} (priority {_priority(each)})"
            for each in around.every
            if each.id != found.id and (_covers_all(each) or set(step.client_ids(each)) & set(step.client_ids(found)))
        )
        aims = _aims(found, around.covered)
        looks_at = {"Looks at": _flag(found) or "no flag"}
        facts = {"Id": found.id or "", **aims, **looks_at, "Priority": str(_priority(found))}
        others = [each.name for each in around.covered.values() if each.there and not each.ours]
        others = ([EVERY_APP] if _covers_all(found) else []) + others
        if others:
            facts["Beside the test client"] = f"{', '.join(others)}: kept, whoever added them"
        if rivals:
            facts["Notice"] = (
                f"The same application is covered by {', '.join(rivals)}. Only the listener with the lowest priority"
                " number is asked."
            )
        return EventListener(
            title=self._title,
            facts=facts,
            listener_id=found.id or "",
            migration_property=_flag(found),
            extension_id=step.calls(found),
            app_ids=step.client_ids(found),
            others=tuple(others),
            rivals=rivals,
        )


def _settings(extension: OnPasswordSubmitCustomExtension) -> dict[str, Any]:
    paths = {
        "Entra calls": "endpoint_configuration.target_url",
        "Token is for": "authentication_configuration.resource_id",
        "Waits (ms)": "client_configuration.timeout_in_milliseconds",
        "Retries": "client_configuration.maximum_retries",
    }
    return {label: step.dig(extension, path) for label, path in paths.items()}


def _findings(validation: Any) -> Findings:
    rows = [
        (kind, each.code or "", each.message, fix_for_warning(each.code))
        for kind in ("error", "warning")
        for each in getattr(validation, f"{kind}s", None) or []
    ]
    return Findings(
        caption="What the tenant's own validation says",
        columns=("Kind", "Code", "The tenant's words", "What to do"),
        rows=rows,
        note="" if rows else "It found nothing wrong.",
        errors=tuple(code for kind, code, _, _ in rows if kind == "error"),
        warnings=tuple(code for kind, code, _, _ in rows if kind == "warning"),
    )


def _aims(listener: OnPasswordSubmitListener, covered: Mapping[str, step.CoveredApp]) -> dict[str, str]:
    """Say which applications, which flag and which extension it is about."""
    return {"Listens to": _apps(listener, covered), "Looks at": _flag(listener), "Calls": step.calls(listener)}


def _apps(listener: OnPasswordSubmitListener, covered: Mapping[str, step.CoveredApp]) -> str:
    ids = step.client_ids(listener)
    apps = ", ".join(id if covered[id].name == id else f"{covered[id].name} ({id})" for id in ids)
    if _covers_all(listener):
        return f"every app, among them {apps}" if apps else "every app"
    return apps or "no app"


def _listening_to(listener: OnPasswordSubmitListener, app_id: str) -> OnPasswordSubmitListener:
    """Compose the change that adds an application; Graph takes the complete list."""
    ids = dict.fromkeys([*step.client_ids(listener), app_id])
    applications = {
        "includeAllApplications": _covers_all(listener),
        "includeApplications": [{"appId": id} for id in ids],
    }
    return step.model(OnPasswordSubmitListener, {"conditions": {"applications": applications}})


def _flag(listener: OnPasswordSubmitListener) -> str:
    return step.dig(listener, "handler.migration_property_id") or ""


def _covers_all(listener: OnPasswordSubmitListener) -> bool:
    # Neither this nor the priority is in the SDK's models (msgraph-sdk 1.65.0).
    return bool((step.dig(listener, "conditions.applications.additional_data") or {}).get("includeAllApplications"))


def _priority(listener: OnPasswordSubmitListener) -> int | None:
    priority = listener.additional_data.get("priority")
    return priority if isinstance(priority, int) else None
