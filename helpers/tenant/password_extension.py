"""The custom authentication extension: which address Entra calls at a password submit, and in whose name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from helpers.tenant.extension_app import ExtensionApp
from helpers.tenant.step import MADE_BY, TAG, Step, everything, left_alone, missing, taken, told, until_shown
from jitkit import protocol
from jitkit.display import Card, Sent, Table
from jitkit.errors import KitError, NotReady, Taken
from jitkit.explanations import fix_for_warning

if TYPE_CHECKING:
    from msgraph.generated.models.authentication_configuration_validation import AuthenticationConfigurationValidation
    from msgraph.generated.models.azure_ad_token_authentication import AzureAdTokenAuthentication
    from msgraph.generated.models.http_request_endpoint import HttpRequestEndpoint
    from msgraph.generated.models.on_password_submit_custom_extension import OnPasswordSubmitCustomExtension

__all__ = ["Extension", "Findings", "PasswordExtension"]

NOTEBOOK = "03-policies"


@dataclass(frozen=True, kw_only=True)
class Extension(Card):
    """The custom authentication extension as the tenant has it.

    Args:
        extension_id: its id.
        target_url: the address that Entra calls.
        resource_id: the identifier URI that Entra's token is for.
        warnings: what the tenant's own validation warned about when it was made or mended.
    """

    extension_id: str
    target_url: str
    resource_id: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Findings(Table):
    """What the tenant's own validation says: one row a finding, with what mends it.

    Args:
        errors: the codes of what makes callouts fail.
        warnings: the codes of what the tenant warns about.
    """

    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Validation: {len(self.errors)} errors, {len(self.warnings)} warnings>"


class PasswordExtension(Step):
    """Make, read, check or remove the custom authentication extension."""

    async def ensure(self) -> Extension:
        """Create the extension, or find it and mend what differs. What would not pass validation is not written.

        Returns:
            The extension; status `created`, `reused` or `updated`.

        Raises:
            NotReady: the registration is not there, or the tenant's validation finds errors.
            Taken: several extensions have the kit's name, or one that the kit did not make.
        """
        with told("set the custom authentication extension up") as sent:
            uri = await self._resource()
            found = await self._find()
            if found is not None and _settings(found) == self._wanted(uri):
                return self._card("reused", found, sent)
            findings = _findings(await self._validate(uri), sent)
            if findings.errors:
                raise _invalid(findings)
            extensions = self._client.identity.custom_authentication_extensions
            body = self._body(uri)
            if found is None:
                made: Any = await extensions.post(body)
                await until_shown(self.show)
                return self._card("created", made, sent, findings.warnings)
            await extensions.by_custom_authentication_extension_id(found.id or "").patch(body)
            body.id = found.id
            return self._card("updated", body, sent, findings.warnings)

    async def show(self) -> Extension:
        """Read the extension from the tenant.

        Raises:
            NotReady: it is not there.
        """
        with told("read the custom authentication extension") as sent:
            found = await self._find()
            if found is None:
                raise missing(f"The custom authentication extension {self._profile.names.extension!r}", NOTEBOOK)
            return self._card("read", found, sent)

    async def check(self) -> Findings:
        """Let the tenant validate the stored extension. The answer is 200 even when it finds errors, so read it.

        Returns:
            One row a finding: code, words, what to do. No row means that the tenant found nothing.

        Raises:
            NotReady: the extension is not there.
        """
        with told("validate the custom authentication extension") as sent:
            extension_id = (await self.show()).extension_id
            item = self._client.identity.custom_authentication_extensions.by_custom_authentication_extension_id(
                extension_id
            )
            return _findings(await item.validate_authentication_configuration.post(), sent)

    async def remove(self) -> Card:
        """Delete the extension. The listener has to go first.

        Returns:
            A card; status `removed`, `missing`, or `left alone` when the kit did not make it.

        Raises:
            KitError: a listener still calls it.
        """
        title = f"Custom authentication extension {self._profile.names.extension}"
        with told("remove the custom authentication extension") as sent:
            try:
                found = await self._find()
            except Taken as theirs:
                return left_alone(title, theirs, sent)
            if found is None:
                return Card(title=title, status="missing", sent=tuple(sent))
            callers = await self._callers(found.id or "")
            if callers:
                raise KitError(
                    f"{', '.join(callers)} still calls this extension: sign-ins would fail with 1003011.",
                    next_step="Remove the listener first: `await s.policies.listener.remove()`.",
                )
            extensions = self._client.identity.custom_authentication_extensions
            await extensions.by_custom_authentication_extension_id(found.id or "").delete()
            return Card(title=title, status="removed", facts={"Id": found.id or ""}, sent=tuple(sent))

    async def _resource(self) -> str:
        app = await ExtensionApp(*self._place).show()
        if not app.identifier_uri:
            raise NotReady(
                f"{app.title} has no identifier URI for {self._profile.endpoint_host}.",
                next_step="Run notebook 02-app-registrations again; it sets the URI that fits the host.",
            )
        return app.identifier_uri

    async def _find(self) -> OnPasswordSubmitCustomExtension | None:
        from msgraph.generated.models.on_password_submit_custom_extension import OnPasswordSubmitCustomExtension

        name = self._profile.names.extension
        listed = await everything(self._client.identity.custom_authentication_extensions)
        named = [each for each in listed if each.display_name == name]
        ours = [each for each in named if isinstance(each, OnPasswordSubmitCustomExtension) and _tagged(each)]
        if len(ours) == 1:
            return ours[0]
        if named:
            raise taken(
                f"{len(ours)} extensions called {name!r} were made by this kit."
                if ours
                else f"The name {name!r} belongs to an extension that the kit did not make.",
                found=", ".join(str(each.id) for each in named),
                next_step="Choose another name in notebook 00, or delete what is not in use under External Identities >"
                " Custom authentication extensions.",
            )
        return None

    async def _callers(self, extension_id: str) -> list[str]:
        listed = await everything(self._client.identity.authentication_event_listeners)
        return [
            f"the listener {each.display_name or each.id!r}"
            for each in listed
            if getattr(getattr(getattr(each, "handler", None), "custom_extension", None), "id", None) == extension_id
        ]

    async def _validate(self, uri: str) -> AuthenticationConfigurationValidation | None:
        from msgraph.generated.identity.custom_authentication_extensions.validate_authentication_configuration import (
            validate_authentication_configuration_post_request_body as body,
        )

        endpoint, authentication = self._reached(uri)
        return await self._client.identity.custom_authentication_extensions.validate_authentication_configuration.post(
            body.ValidateAuthenticationConfigurationPostRequestBody(
                endpoint_configuration=endpoint, authentication_configuration=authentication
            )
        )

    def _wanted(self, uri: str) -> tuple[object, ...]:
        return self._profile.target_url, uri, protocol.TIMEOUT_MS, protocol.MAXIMUM_RETRIES

    def _reached(self, uri: str) -> tuple[HttpRequestEndpoint, AzureAdTokenAuthentication]:
        from msgraph.generated.models.azure_ad_token_authentication import AzureAdTokenAuthentication
        from msgraph.generated.models.http_request_endpoint import HttpRequestEndpoint

        return HttpRequestEndpoint(target_url=self._profile.target_url), AzureAdTokenAuthentication(resource_id=uri)

    def _body(self, uri: str) -> OnPasswordSubmitCustomExtension:
        from msgraph.generated.models.custom_extension_client_configuration import CustomExtensionClientConfiguration
        from msgraph.generated.models.on_password_submit_custom_extension import OnPasswordSubmitCustomExtension

        endpoint, authentication = self._reached(uri)
        return OnPasswordSubmitCustomExtension(
            display_name=self._profile.names.extension,
            description=f"Asks the legacy store about passwords of users who are still to be migrated. {MADE_BY}",
            endpoint_configuration=endpoint,
            authentication_configuration=authentication,
            client_configuration=CustomExtensionClientConfiguration(
                timeout_in_milliseconds=protocol.TIMEOUT_MS, maximum_retries=protocol.MAXIMUM_RETRIES
            ),
        )

    def _card(
        self, status: str, found: OnPasswordSubmitCustomExtension, sent: list[Sent], warnings: tuple[str, ...] = ()
    ) -> Extension:
        target, resource, timeout, retries = _settings(found)
        facts = {
            "Id": found.id or "",
            "Entra calls": str(target),
            "In the name of": str(resource),
            "Waits": f"{timeout:,} ms, then tries {retries} more time" if timeout else "as long as the service chooses",
        }
        if warnings:
            facts["Validation warns"] = " ".join(f"{code}: {fix_for_warning(code)}" for code in warnings)
        return Extension(
            title=f"Custom authentication extension {found.display_name}",
            status=status,
            facts=facts,
            sent=tuple(sent),
            extension_id=found.id or "",
            target_url=str(target),
            resource_id=str(resource),
            warnings=warnings,
        )


def _tagged(extension: OnPasswordSubmitCustomExtension) -> bool:
    return TAG in (extension.description or "")


def _settings(extension: OnPasswordSubmitCustomExtension) -> tuple[object, object, int | None, int | None]:
    endpoint: Any = extension.endpoint_configuration
    authentication: Any = extension.authentication_configuration
    client = extension.client_configuration
    return (
        getattr(endpoint, "target_url", None),
        getattr(authentication, "resource_id", None),
        client.timeout_in_milliseconds if client else None,
        client.maximum_retries if client else None,
    )


def _findings(validation: AuthenticationConfigurationValidation | None, sent: list[Sent]) -> Findings:
    errors = (validation.errors if validation else None) or []
    warnings = (validation.warnings if validation else None) or []
    found = [("error", each) for each in errors] + [("warning", each) for each in warnings]
    rows = [(kind, each.code, each.message, fix_for_warning(each.code)) for kind, each in found]
    return Findings(
        caption="What the tenant's own validation says",
        columns=("Kind", "Code", "The tenant's words", "What to do"),
        rows=rows,
        note="" if rows else "It found nothing wrong.",
        sent=tuple(sent),
        errors=tuple(each.code or "" for each in errors),
        warnings=tuple(each.code or "" for each in warnings),
    )


def _invalid(findings: Findings) -> NotReady:
    errors = [row for row in findings.rows if row[0] == "error"]
    return NotReady(
        "The tenant's validation finds errors, so the extension was not written.",
        service="; ".join(f"{code}: {words}" for _, code, words, _ in errors),
        next_step=" ".join(str(mend) for *_, mend in errors),
    )
