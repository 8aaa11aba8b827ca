"""The sign-up and sign-in user flow that the test client is attached to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from msgraph.generated.models.authentication_attribute_collection_input_configuration import (
    AuthenticationAttributeCollectionInputConfiguration as Input,
)
from msgraph.generated.models.authentication_attribute_collection_input_type import (
    AuthenticationAttributeCollectionInputType as InputType,
)
from msgraph.generated.models.authentication_attribute_collection_page import AuthenticationAttributeCollectionPage
from msgraph.generated.models.authentication_attribute_collection_page_view_configuration import (
    AuthenticationAttributeCollectionPageViewConfiguration as View,
)
from msgraph.generated.models.authentication_condition_application import AuthenticationConditionApplication
from msgraph.generated.models.external_users_self_service_sign_up_events_flow import (
    ExternalUsersSelfServiceSignUpEventsFlow as EventsFlow,
)
from msgraph.generated.models.identity_provider_base import IdentityProviderBase
from msgraph.generated.models.identity_user_flow_attribute import IdentityUserFlowAttribute as Attribute
from msgraph.generated.models.identity_user_flow_attribute_data_type import IdentityUserFlowAttributeDataType
from msgraph.generated.models.identity_user_flow_attribute_type import IdentityUserFlowAttributeType
from msgraph.generated.models.on_attribute_collection_external_users_self_service_sign_up import (
    OnAttributeCollectionExternalUsersSelfServiceSignUp as Collection,
)
from msgraph.generated.models.on_authentication_method_load_start_external_users_self_service_sign_up import (
    OnAuthenticationMethodLoadStartExternalUsersSelfServiceSignUp as Methods,
)
from msgraph.generated.models.on_interactive_auth_flow_start_external_users_self_service_sign_up import (
    OnInteractiveAuthFlowStartExternalUsersSelfServiceSignUp as Start,
)

from helpers.tenant.apps import ClientApp
from helpers.tenant.step import MADE_BY, TAG, ObjectStep, all_pages, missing, retry_while_unknown, taken
from jitkit.display import Card
from jitkit.errors import NotReady, Taken

__all__ = ["Flow", "UserFlow"]

EMAIL_PROVIDER: Final = "EmailPassword-OAUTH"
_EMAIL = r"^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*$"


@dataclass(frozen=True, kw_only=True)
class Flow(Card):
    """A user flow."""

    flow_id: str  # its id
    name: str  # its display name
    app_ids: tuple[str, ...]  # the client ids of the applications in it


class UserFlow(ObjectStep[str, EventsFlow, Flow]):
    """Find or create a user flow with e-mail and password, and put the test client into it.

    An application can be in one user flow only, so a flow that already has the client is kept, whether or not the kit
    made it.
    """

    _kind = "user flow"
    _notebook = "02-app-registrations"

    @property
    def _name(self) -> str:
        return self._profile.names.user_flow

    async def _find(self) -> tuple[str, EventsFlow | None]:
        app_id = (await self._other(ClientApp).show()).app_id
        return app_id, await self._flow_with(app_id)

    async def _flow_with(self, app_id: str) -> EventsFlow | None:
        listed = await all_pages(self._client.identity.authentication_events_flows)
        flows = [flow for flow in listed if isinstance(flow, EventsFlow)]
        with_client = [flow for flow in flows if app_id and app_id in _apps(flow)]
        named = [flow for flow in flows if flow.display_name == self._name]
        if not with_client and len(named) > 1:
            raise taken(
                f"{len(named)} user flows are called {self._name!r}.",
                found=", ".join(str(flow.id) for flow in named),
                next_step="Rename all but one under External Identities > User flows, and run this cell again.",
            )
        return next(iter(with_client + named), None)

    def _complete(self, around: str, found: EventsFlow | None) -> EventsFlow:
        if found is None or around not in _apps(found):
            raise missing(f"a user flow with {self._profile.names.client_app!r} in it", self._notebook)
        return found

    async def _create(self, around: str) -> EventsFlow | None:
        made: Any = await self._client.identity.authentication_events_flows.post(_new(self._name))
        return await self._update(around, await self._read(made))

    async def _update(self, around: str, found: EventsFlow) -> EventsFlow | None:
        if EMAIL_PROVIDER not in _providers(found):
            raise taken(
                f"The user flow {found.display_name!r} does not offer e-mail with password.",
                found=f"{found.id} with {', '.join(_providers(found)) or 'no identity provider'}",
                next_step="Add 'Email with password' to it under External Identities > User flows, or take the test"
                " client out of it there, and run this cell again.",
            )
        if around in _apps(found):
            return None
        apps = self._item(found).conditions.applications.include_applications
        await retry_while_unknown(lambda: apps.post(AuthenticationConditionApplication(app_id=around)))
        return await self._read(found)

    def _item(self, flow: EventsFlow) -> Any:
        flows = self._client.identity.authentication_events_flows
        return flows.by_authentication_events_flow_id(flow.id or "")

    async def _read(self, flow: EventsFlow) -> EventsFlow:
        # The answer to a POST leaves out the identity providers and the applications; a GET has them.
        read: EventsFlow = await retry_while_unknown(self._item(flow).get)
        return read

    async def _remove(self) -> tuple[str, dict[str, str]]:
        try:
            app_id = (await self._other(ClientApp).show()).app_id
        except (NotReady, Taken):
            app_id = ""
        flow = await self._flow_with(app_id)
        return ("missing", {}) if flow is None else await self._take_out(app_id, flow)

    async def _take_out(self, app_id: str, flow: EventsFlow) -> tuple[str, dict[str, str]]:
        """Take the client out of its flow; delete the flow if the kit made it and no other application uses it."""
        if app_id in _apps(flow):
            apps = self._item(flow).conditions.applications.include_applications
            await apps.by_authentication_condition_application_app_id(app_id).delete()
        others = [each for each in _apps(flow) if each != app_id]
        facts = {"Flow": f"{flow.display_name} ({flow.id})"}
        if TAG not in (flow.description or ""):
            return "kept", facts | {"Why it stays": "The kit did not make it; only the test client was taken out."}
        if others:
            return "kept", facts | {"Why it stays": f"Other applications are in it: {', '.join(others)}."}
        return "removed", await self._delete(app_id, flow)

    async def _delete(self, around: str, found: EventsFlow) -> dict[str, str]:
        await self._item(found).delete()
        return {"Flow": f"{found.display_name} ({found.id})"}

    def _card(self, around: str, found: EventsFlow) -> Flow:
        apps = _apps(found)
        return Flow(
            title=f"User flow {found.display_name}",
            status="read",
            facts={
                "Flow id": found.id or "",
                "Sign-in with": ", ".join(_providers(found)),
                "Applications": ", ".join(apps),
                "Made by": "this kit" if TAG in (found.description or "") else "someone else",
            },
            flow_id=found.id or "",
            name=found.display_name or "",
            app_ids=apps,
        )


def _new(name: str) -> EventsFlow:
    """Compose a flow in which users enter e-mail and display name, as in the reference's first example."""
    built_in, text = IdentityUserFlowAttributeType.BuiltIn, IdentityUserFlowAttributeDataType.String
    attributes = [
        Attribute(id=id, display_name=label, user_flow_attribute_type=built_in, data_type=text)
        for id, label in (("email", "Email Address"), ("displayName", "Display Name"))
    ]
    inputs = [
        Input(
            attribute="email",
            label="Email Address",
            input_type=InputType.Text,
            hidden=True,
            editable=False,
            write_to_directory=True,
            required=True,
            validation_reg_ex=_EMAIL,
        ),
        Input(
            attribute="displayName",
            label="Display Name",
            input_type=InputType.Text,
            hidden=False,
            editable=True,
            write_to_directory=True,
            required=False,
        ),
    ]
    page = AuthenticationAttributeCollectionPage(views=[View(inputs=inputs)])
    return EventsFlow(
        display_name=name,
        description=MADE_BY,
        on_interactive_auth_flow_start=Start(is_sign_up_allowed=True),
        on_authentication_method_load_start=Methods(identity_providers=[IdentityProviderBase(id=EMAIL_PROVIDER)]),
        on_attribute_collection=Collection(attributes=attributes, attribute_collection_page=page),
    )


def _apps(flow: EventsFlow) -> tuple[str, ...]:
    applications = flow.conditions.applications if flow.conditions else None
    return tuple(each.app_id or "" for each in (applications.include_applications if applications else None) or [])


def _providers(flow: EventsFlow) -> tuple[str, ...]:
    methods: Any = flow.on_authentication_method_load_start
    return tuple(each.id or "" for each in (methods.identity_providers if methods else None) or [])
