"""The custom authentication extension (which address Entra calls) and the listener (for which app and which users)."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

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
from jitkit.errors import KitError, NotReady
from jitkit.explanations import fix_for_warning

__all__ = ["EventListener", "Extension", "Findings", "Listener", "PasswordExtension"]

# The how-to's own value. The lowest number among the listeners of an application wins.
PRIORITY: Final = 500


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
            item = self._extensions.by_custom_authentication_extension_id((await self.show()).extension_id)
            return replace(_findings(await item.validate_authentication_configuration.post()), sent=tuple(sent))

    @property
    def _extensions(self) -> Any:
        return self._client.identity.custom_authentication_extensions

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
        if _settings(found.extension) == _settings(body):
            return None
        warnings = await self._validate(body)
        await self._extensions.by_custom_authentication_extension_id(found.extension.id or "").patch(body)
        body.id = found.extension.id
        return _Stored(body, warnings)

    async def _wanted(self) -> OnPasswordSubmitCustomExtension:
        app = await self._other(ExtensionApp).show()
        if not app.identifier_uri:
            raise NotReady(
                f"{app.title} has no identifier URI for {self._profile.endpoint_host}.",
                next_step="Run notebook 02-app-registrations again; it sets the URI that fits the host.",
            )
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

    async def _delete(self, around: None, found: _Stored) -> dict[str, str]:
        extension_id = found.extension.id or ""
        listeners = await step.all_pages(self._client.identity.authentication_event_listeners)
        callers = [
            f"the listener {each.display_name or each.id!r}" for each in listeners if _calls(each) == extension_id
        ]
        if callers:
            raise KitError(
                f"{', '.join(callers)} still calls this extension: sign-ins would fail with 1003011.",
                next_step="Remove the listener first: `await s.policies.listener.remove()`.",
            )
        await self._extensions.by_custom_authentication_extension_id(extension_id).delete()
        return {"Id": extension_id}

    def _card(self, around: None, found: _Stored) -> Extension:
        target, resource, timeout, retries = _settings(found.extension)
        facts = {
            "Id": found.extension.id or "",
            "Entra calls": str(target),
            "In the name of": str(resource),
            "Waits": f"{timeout:,} ms, then tries {retries} more time" if timeout else "as long as the service chooses",
        }
        if found.warnings:
            warnings = (f"{code}: {fix_for_warning(code)}" for code in found.warnings)
            facts["Validation warns"] = " ".join(warnings)
        return Extension(
            title=self._title,
            status="read",
            facts=facts,
            extension_id=found.extension.id or "",
            target_url=str(target),
            resource_id=str(resource),
            warnings=found.warnings,
        )


class Listener(ObjectStep[list[OnPasswordSubmitListener], OnPasswordSubmitListener, EventListener]):
    """Create, read or remove the listener. While it is there, sign-ins of flagged users lead to a call."""

    _kind = "listener"
    _named = "listener"
    _notebook = "03-policies"

    @property
    def _listeners(self) -> Any:
        return self._client.identity.authentication_event_listeners

    async def _find(self) -> tuple[list[OnPasswordSubmitListener], OnPasswordSubmitListener | None]:
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
            return every, None
        # A listener has neither tags nor a description. It is the kit's unless it calls an extension that is not.
        calls = _calls(named[0])
        if calls and await self._is_foreign(calls):
            raise step.taken(
                f"The listener {self._name!r} calls an extension that the kit did not make.",
                found=f"{named[0].id}, which calls {calls}",
                next_step="Choose another listener name in notebook 00, or delete that listener if it is not in use.",
            )
        return every, named[0]

    async def _is_foreign(self, extension_id: str) -> bool:
        """Return whether an extension is there and is not the kit's."""
        with contextlib.suppress(NotReady):
            if (await self._other(PasswordExtension).show()).extension_id == extension_id:
                return False
        extensions = self._client.identity.custom_authentication_extensions
        found = await step.none_if_absent(extensions.by_custom_authentication_extension_id(extension_id).get())
        return found is not None

    async def _create(self, around: list[OnPasswordSubmitListener]) -> OnPasswordSubmitListener:
        body = await self._wanted()
        made = await self._listeners.post(body)
        # The answer to a POST leaves the extension out.
        body.id = made.id
        return body

    async def _update(
        self, around: list[OnPasswordSubmitListener], found: OnPasswordSubmitListener
    ) -> OnPasswordSubmitListener | None:
        # Other applications that it covers stay, and so does its priority.
        body = await self._wanted(step.client_ids(found), _priority(found))
        if all(part(found) == part(body) for part in (_flag, _calls, step.client_ids, _covers_all)):
            return None
        await self._listeners.by_authentication_event_listener_id(found.id or "").patch(body)
        body.id = found.id
        return body

    async def _wanted(
        self, more_apps: tuple[str, ...] = (), priority: int | None = PRIORITY
    ) -> OnPasswordSubmitListener:
        flag = await self._other(MigrationFlag).show()
        client = await self._other(ClientApp).show()
        extension = await self._other(PasswordExtension).show()
        apps = [{"appId": each} for each in dict.fromkeys([*more_apps, client.app_id])]
        body = {
            "displayName": self._name,
            "priority": priority,
            "conditions": {"applications": {"includeAllApplications": False, "includeApplications": apps}},
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

    async def _delete(self, around: list[OnPasswordSubmitListener], found: OnPasswordSubmitListener) -> dict[str, str]:
        await self._listeners.by_authentication_event_listener_id(found.id or "").delete()
        return {"Id": found.id or "", "Covered": ", ".join(step.client_ids(found))}

    def _card(self, around: list[OnPasswordSubmitListener], found: OnPasswordSubmitListener) -> EventListener:
        rivals = tuple(
            f"{each.display_name or each.id} (priority {_priority(each)})"
            for each in around
            if each.id != found.id and (_covers_all(each) or set(step.client_ids(each)) & set(step.client_ids(found)))
        )
        facts = {
            "Id": found.id or "",
            "Listens to": ", ".join(step.client_ids(found)) or ("every app" if _covers_all(found) else "no app"),
            "Looks at": _flag(found) or "no flag",
            "Calls": _calls(found),
            "Priority": str(_priority(found)),
        }
        if rivals:
            facts["Notice"] = (
                f"The same application is covered by {', '.join(rivals)}. Only the listener with the lowest priority"
                " number is asked."
            )
        return EventListener(
            title=self._title,
            status="read",
            facts=facts,
            listener_id=found.id or "",
            migration_property=_flag(found),
            extension_id=_calls(found),
            app_ids=step.client_ids(found),
            rivals=rivals,
        )


def _settings(extension: OnPasswordSubmitCustomExtension) -> tuple[Any, ...]:
    return (
        step.dig(extension, "endpoint_configuration.target_url"),
        step.dig(extension, "authentication_configuration.resource_id"),
        step.dig(extension, "client_configuration.timeout_in_milliseconds"),
        step.dig(extension, "client_configuration.maximum_retries"),
    )


def _findings(validation: Any) -> Findings:
    found = {kind: getattr(validation, kind, None) or [] for kind in ("errors", "warnings")}
    rows = [
        (kind.removesuffix("s"), each.code, each.message, fix_for_warning(each.code))
        for kind, those in found.items()
        for each in those
    ]
    codes = {kind: tuple(each.code or "" for each in those) for kind, those in found.items()}
    return Findings(
        caption="What the tenant's own validation says",
        columns=("Kind", "Code", "The tenant's words", "What to do"),
        rows=rows,
        note="" if rows else "It found nothing wrong.",
        errors=codes["errors"],
        warnings=codes["warnings"],
    )


def _flag(listener: OnPasswordSubmitListener) -> str:
    return step.dig(listener, "handler.migration_property_id") or ""


def _calls(listener: Any) -> str:
    return step.dig(listener, "handler.custom_extension.id") or ""


def _covers_all(listener: OnPasswordSubmitListener) -> bool:
    # Neither this nor the priority is in the SDK's models (msgraph-sdk 1.65.0).
    return bool((step.dig(listener, "conditions.applications.additional_data") or {}).get("includeAllApplications"))


def _priority(listener: OnPasswordSubmitListener) -> int | None:
    priority = listener.additional_data.get("priority")
    return priority if isinstance(priority, int) else None
