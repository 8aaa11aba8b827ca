"""How people sign in: the user flow that the test client is attached to, and one-time codes by e-mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx
from msgraph.generated.models.authentication_condition_application import AuthenticationConditionApplication
from msgraph.generated.models.external_users_self_service_sign_up_events_flow import (
    ExternalUsersSelfServiceSignUpEventsFlow as EventsFlow,
)

from helpers.graph import Change
from helpers.tenant import step
from helpers.tenant.apps import ClientApp
from helpers.tenant.step import MADE_BY, TAG, ObjectStep, Step, client_ids, recording_errors, retry_while_unknown
from jitkit.display import Card, Sent
from jitkit.errors import NotReady, PermissionMissing, Taken

__all__ = ["EmailCodes", "Flow", "UserFlow"]

EMAIL_PROVIDER: Final = "EmailPassword-OAUTH"
_EMAIL = r"^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*$"


@dataclass(frozen=True, kw_only=True)
class Flow(Card):
    """A user flow."""

    flow_id: str  # its id
    name: str  # its display name
    app_ids: tuple[str, ...]  # the client ids of the applications in it
    stays: bool = False  # whether removing takes only the test client out: others made it, or are in it


class UserFlow(ObjectStep[str, EventsFlow, Flow]):
    """Find or create a user flow with e-mail and password, and put the test client into it.

    An application can be in one user flow only, so a flow that already has the client is kept, whether or not the kit
    made it.
    """

    _kind = "user flow"
    _named = "user_flow"
    _notebook = "02-app-registrations"

    async def ensure(self) -> Flow:
        """Find or create the flow; an account that may not read user flows gets a card that says whom to ask.

        Returns:
            The flow; status created, reused, updated, or `not known`.
        """
        try:
            return await super().ensure()
        except PermissionMissing as refused:
            try:
                await self.show()
            except PermissionMissing:
                # Others may have made it: what follows does not need to read it.
                facts = {"What happened": refused.happened, "Next": refused.next_step}
                title = f"User flow {self._name}"
                return Flow(title=title, status="not known", facts=facts, flow_id="", name="", app_ids=())
            except NotReady:
                pass
            raise

    async def _find(self) -> tuple[str, EventsFlow | None]:
        app_id = (await self._other(ClientApp).show()).app_id
        flow = await self._flow_with(app_id)
        # Should a list leave the identity providers out, the flow itself has them.
        return app_id, await self._read(flow) if flow is not None and not _providers(flow) else flow

    async def _flow_with(self, app_id: str) -> EventsFlow | None:
        listed = await step.all_pages(self._flows)
        flows = [flow for flow in listed if isinstance(flow, EventsFlow)]
        with_client = [flow for flow in flows if app_id and app_id in client_ids(flow)]
        named = [flow for flow in flows if flow.display_name == self._name]
        if not with_client and len(named) > 1:
            raise step.taken(
                f"{len(named)} user flows are called {self._name!r}.",
                found=", ".join(str(flow.id) for flow in named),
                next_step="Rename all but one under External Identities > User flows, and run this cell again.",
            )
        return next(iter(with_client + named), None)

    def _complete(self, around: str, found: EventsFlow | None) -> EventsFlow:
        if found is None or around not in client_ids(found):
            raise step.missing(f"a user flow with {self._profile.names.client_app!r} in it", self._notebook)
        if EMAIL_PROVIDER not in _providers(found):
            raise NotReady(
                f"The user flow {found.display_name!r} does not offer e-mail with password; it offers"
                f" {', '.join(_providers(found)) or 'no identity provider'}.",
                next_step="Add 'Email with password' to it under External Identities > User flows, then run this cell"
                " again.",
            )
        return found

    async def _create(self, around: str) -> EventsFlow | None:
        made = await self._flows.post(_new(self._name))
        return await self._put_in(around, await self._read(made))

    async def _update(self, around: str, found: EventsFlow) -> EventsFlow | None:
        if EMAIL_PROVIDER not in _providers(found):
            # A flow is found by its client first, then by its name.
            ways = {"take the test client out of it": around in client_ids(found)}
            ways["rename it"] = found.display_name == self._name
            way_out = " and ".join(way for way, needed in ways.items() if needed)
            raise step.taken(
                f"The user flow {found.display_name!r} does not offer e-mail with password.",
                found=f"{found.id} with {', '.join(_providers(found)) or 'no identity provider'}",
                next_step=f"Add 'Email with password' to it under External Identities > User flows, or {way_out} there,"
                " and run this cell again.",
            )
        if around in client_ids(found):
            return None
        values = [("Applications", "", f"{self._profile.names.client_app} as well")]
        async with self._changing(f"Change the user flow {found.display_name!r}", values):
            return await self._put_in(around, found)

    async def _put_in(self, around: str, found: EventsFlow) -> EventsFlow:
        apps = self._item(found).conditions.applications.include_applications
        await retry_while_unknown(lambda: apps.post(AuthenticationConditionApplication(app_id=around)))
        return await self._read(found)

    @property
    def _flows(self) -> Any:
        return self._client.identity.authentication_events_flows

    def _item(self, flow: EventsFlow) -> Any:
        return self._flows.by_authentication_events_flow_id(flow.id or "")

    async def _read(self, flow: EventsFlow) -> EventsFlow:
        # The answer to a POST leaves out the identity providers and the applications; a GET has them.
        read: EventsFlow = await retry_while_unknown(self._item(flow).get)
        return read

    async def _removable(self) -> list[tuple[str, EventsFlow]]:
        try:
            app_id = (await self._other(ClientApp).show()).app_id
        except (NotReady, Taken):
            app_id = ""
        if (flow := await self._flow_with(app_id)) is None:
            raise step.missing(self._what, self._notebook)
        return [(app_id, flow)]

    async def _remove(self) -> tuple[str, dict[str, str]]:
        # The client leaves its flow; the flow goes too if the kit made it and no other application uses it.
        try:
            [(app_id, flow)] = await self._removable()
        except NotReady:
            return "missing", {}
        others = await self._covered(each for each in client_ids(flow) if each != app_id)
        names = ", ".join(each.name for each in others.values())
        facts = {"Flow": f"{flow.display_name} ({flow.id})"}
        stays = ""
        if TAG not in (flow.description or ""):
            out = "; only the test client was taken out" if app_id in client_ids(flow) else ""
            stays = f"The kit did not make it{out}."
        elif others:
            stays = f"Other applications are in it: {names}."
        if app_id in client_ids(flow) or not stays:
            does, affected = "Delete", self._profile.names.client_app
            if stays:
                does = "Take the test client out of"
                affected += f" alone; {names or 'no other application'} stays in it"
            answer = flow.display_name or ""
            async with self._changing(f"{does} the user flow {flow.display_name!r}", (), affected, answer):
                if app_id in client_ids(flow):
                    apps = self._item(flow).conditions.applications.include_applications
                    await apps.by_authentication_condition_application_app_id(app_id).delete()
                if not stays:
                    await self._item(flow).delete()
        return ("kept", facts | {"Why it stays": stays}) if stays else ("removed", facts)

    def _new_values(self, around: str) -> list[tuple[str, str, str]]:
        return [
            ("Sign-in with", "", EMAIL_PROVIDER),
            ("Sign-up", "", "not offered"),
            ("Applications", "", self._profile.names.client_app),
        ]

    def _card(self, around: str, found: EventsFlow) -> Flow:
        apps, ours = client_ids(found), TAG in (found.description or "")
        return Flow(
            title=f"User flow {found.display_name}",
            facts={
                "Flow id": found.id or "",
                "Sign-in with": ", ".join(_providers(found)),
                "Applications": ", ".join(apps),
                "Made by": "this kit" if ours else "someone else",
            },
            flow_id=found.id or "",
            name=found.display_name or "",
            app_ids=apps,
            stays=not ours or any(each != around for each in apps),
        )


class EmailCodes(Step):
    """Read, or switch on, one-time codes by e-mail (Email OTP).

    Without them, people whose old password is too weak (UpdatePassword) have no way to a new one.
    """

    _path = "/policies/authenticationMethodsPolicy/authenticationMethodConfigurations/email"

    async def show(self) -> Card:
        """Read from the tenant's policy whether such codes are on; status `on`, `off`, or `not known`."""
        with recording_errors("read whether one-time codes by e-mail are on") as sent:
            try:
                state = (await self._graph.send("GET", self._path))["state"]
            except httpx.HTTPStatusError as error:
                if error.response.status_code != 403:
                    raise
                return self._card("not known", "this account may not read the policy", sent)
            return self._card("on" if state == "enabled" else "off", str(state), sent)

    async def ensure(self) -> Card:
        """Switch such codes on, if they are off; for whom they are on stays as it is.

        Returns:
            A card; status `reused`, `updated`, or `not known` when the account may not read or change the policy.
        """
        before = await self.show()
        if before.status != "off":
            return replace(before, status="reused" if before.status == "on" else before.status)
        change = Change(
            "Switch on one-time codes by e-mail (Email OTP) in the tenant's authentication methods policy",
            [("State", before.facts["State"], "enabled")],
            "everybody in the tenant for whom the policy names this method",
            answer="Email OTP",
            asks="the short name of that method",
        )
        kind = "#microsoft.graph.emailAuthenticationMethodConfiguration"
        try:
            with recording_errors("switch on one-time codes by e-mail") as sent:
                async with self._graph.changing(change):
                    await self._graph.send("PATCH", self._path, body={"@odata.type": kind, "state": "enabled"})
        except PermissionMissing as refused:
            return self._card("not known", f"off; {refused.happened} {refused.next_step}", before.sent)
        return self._card("updated", "enabled", [*before.sent, *sent])

    def _card(self, status: str, state: str, sent: Sequence[Sent]) -> Card:
        by_hand = "Entra ID > Authentication methods > Policies > Email OTP; role: Authentication Policy Administrator"
        facts = {"State": state, "By hand": by_hand}
        return Card(title="One-time codes by e-mail (Email OTP)", status=status, facts=facts, sent=tuple(sent))


def _new(name: str) -> EventsFlow:
    """Compose a flow in which users enter e-mail and display name, as in the reference's first example."""
    built_in = {"userFlowAttributeType": "builtIn", "dataType": "string"}
    text = {"inputType": "text", "writeToDirectory": True}
    email = {"attribute": "email", "label": "Email Address", "hidden": True, "editable": False, "required": True}
    shown = {"attribute": "displayName", "label": "Display Name", "hidden": False, "editable": True, "required": False}
    return step.model(
        EventsFlow,
        {
            "displayName": name,
            "description": MADE_BY,
            # Nobody who migrates signs up; a tenant where sign-up is off stays closed.
            "onInteractiveAuthFlowStart": {"@odata.type": _typed("InteractiveAuthFlowStart"), "isSignUpAllowed": False},
            "onAuthenticationMethodLoadStart": {
                "@odata.type": _typed("AuthenticationMethodLoadStart"),
                "identityProviders": [{"id": EMAIL_PROVIDER}],
            },
            "onAttributeCollection": {
                "@odata.type": _typed("AttributeCollection"),
                "attributes": [
                    built_in | {"id": "email", "displayName": "Email Address"},
                    built_in | {"id": "displayName", "displayName": "Display Name"},
                ],
                "attributeCollectionPage": {
                    "views": [{"inputs": [text | email | {"validationRegEx": _EMAIL}, text | shown]}]
                },
            },
        },
    )


def _typed(event: str) -> str:
    return f"#microsoft.graph.on{event}ExternalUsersSelfServiceSignUp"


def _providers(flow: EventsFlow) -> tuple[str, ...]:
    return tuple(
        each.id or "" for each in step.dig(flow, "on_authentication_method_load_start.identity_providers") or []
    )
