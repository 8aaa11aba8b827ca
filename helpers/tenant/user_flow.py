"""The sign-up and sign-in user flow that the test client is attached to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from helpers.tenant.registrations import NOTEBOOK
from helpers.tenant.step import MADE_BY, TAG, Step, everything, left_alone, missing, patiently, taken, told, until_shown
from helpers.tenant.test_client import TestClient
from jitkit.display import Card, Sent
from jitkit.errors import NotReady, Taken

if TYPE_CHECKING:
    from msgraph.generated.models.external_users_self_service_sign_up_events_flow import (
        ExternalUsersSelfServiceSignUpEventsFlow as EventsFlow,
    )

__all__ = ["Flow", "UserFlow"]

EMAIL_PROVIDER: Final = "EmailPassword-OAUTH"
_EMAIL = r"^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*$"


@dataclass(frozen=True, kw_only=True)
class Flow(Card):
    """A user flow.

    Args:
        flow_id: its id.
        name: its display name.
        app_ids: the client ids of the applications in it.
    """

    flow_id: str
    name: str
    app_ids: tuple[str, ...]


class UserFlow(Step):
    """Find or make a user flow with e-mail and password, and put the test client into it."""

    async def ensure(self) -> Flow:
        """Find the flow that the test client is in; else put it into the kit's own flow, made when absent.

        An application can be in one user flow only, so a flow that already has the client is kept, whoever made it.

        Returns:
            The flow; status `created`, `reused` or `updated`.

        Raises:
            NotReady: the test client is not there.
            Taken: the flow in question does not offer e-mail with password.
        """
        with told("find or make the user flow") as sent:
            client = await TestClient(*self._place).show()
            flow, status = await self._find(client.app_id), "reused"
            if flow is None:
                made = await self._client.identity.authentication_events_flows.post(self._new())
                flow, status = await self._read(made), "created"
            if client.app_id not in _apps(flow):
                await self._attach(flow, client.app_id)
                await until_shown(self.show)
                status = "updated" if status == "reused" else status
                flow = await self._read(flow)
            self._require_password(flow)
            return self._card(status, flow, sent)

    async def show(self) -> Flow:
        """Read the flow that the test client is in.

        Raises:
            NotReady: the client is in none.
        """
        with told("read the user flow") as sent:
            client = await TestClient(*self._place).show()
            flow = await self._find(client.app_id)
            if flow is None or client.app_id not in _apps(flow):
                raise missing(f"A user flow with {self._profile.names.client_app!r} in it", NOTEBOOK)
            return self._card("read", flow, sent)

    async def remove(self) -> Card:
        """Take the test client out of its flow, and delete the flow if the kit made it and nobody else uses it.

        Returns:
            A card; status `removed`, `kept`, `missing`, or `left alone` when several flows have the kit's name.
        """
        title = f"User flow {self._profile.names.user_flow}"
        with told("remove the user flow") as sent:
            try:
                app_id = (await TestClient(*self._place).show()).app_id
            except (NotReady, Taken):
                app_id = ""
            try:
                flow = await self._find(app_id)
            except Taken as several:
                return left_alone(title, several, sent)
            if flow is None:
                return Card(title=title, status="missing", sent=tuple(sent))
            item = self._client.identity.authentication_events_flows.by_authentication_events_flow_id(flow.id or "")
            if app_id in _apps(flow):
                apps = item.conditions.applications.include_applications
                await apps.by_authentication_condition_application_app_id(app_id).delete()
            others = [each for each in _apps(flow) if each != app_id]
            facts = {"Flow": f"{flow.display_name} ({flow.id})"}
            if TAG not in (flow.description or ""):
                facts["Why it stays"] = "The kit did not make it; only the test client was taken out."
            elif others:
                facts["Why it stays"] = f"Other applications are in it: {', '.join(others)}."
            else:
                await item.delete()
                return Card(title=title, status="removed", facts=facts, sent=tuple(sent))
            return Card(title=title, status="kept", facts=facts, sent=tuple(sent))

    async def _find(self, app_id: str) -> EventsFlow | None:
        from msgraph.generated.models.external_users_self_service_sign_up_events_flow import (
            ExternalUsersSelfServiceSignUpEventsFlow as EventsFlow,
        )

        listed = await everything(self._client.identity.authentication_events_flows)
        flows = [flow for flow in listed if isinstance(flow, EventsFlow)]
        with_client = [flow for flow in flows if app_id and app_id in _apps(flow)]
        named = [flow for flow in flows if flow.display_name == self._profile.names.user_flow]
        if not with_client and len(named) > 1:
            raise taken(
                f"{len(named)} user flows are called {self._profile.names.user_flow!r}.",
                found=", ".join(str(flow.id) for flow in named),
                next_step="Rename all but one under External Identities > User flows, and run this cell again.",
            )
        return next(iter(with_client + named), None)

    async def _read(self, flow: Any) -> EventsFlow:
        # The answer to a POST leaves out the identity providers and the applications; a GET has them.
        item = self._client.identity.authentication_events_flows.by_authentication_events_flow_id(flow.id)
        read: Any = await patiently(item.get)
        found: EventsFlow = read
        return found

    async def _attach(self, flow: EventsFlow, app_id: str) -> None:
        from msgraph.generated.models.authentication_condition_application import AuthenticationConditionApplication

        self._require_password(flow)
        item = self._client.identity.authentication_events_flows.by_authentication_events_flow_id(flow.id or "")
        apps = item.conditions.applications.include_applications
        await patiently(lambda: apps.post(AuthenticationConditionApplication(app_id=app_id)))

    def _require_password(self, flow: EventsFlow) -> None:
        if EMAIL_PROVIDER not in _providers(flow):
            raise taken(
                f"The user flow {flow.display_name!r} does not offer e-mail with password.",
                found=f"{flow.id} with {', '.join(_providers(flow)) or 'no identity provider'}",
                next_step="Add 'Email with password' to it under External Identities > User flows, or take the test"
                " client out of it there, and run this cell again.",
            )

    def _new(self) -> EventsFlow:
        from msgraph.generated.models.external_users_self_service_sign_up_events_flow import (
            ExternalUsersSelfServiceSignUpEventsFlow as EventsFlow,
        )
        from msgraph.generated.models.identity_provider_base import IdentityProviderBase
        from msgraph.generated.models.on_authentication_method_load_start_external_users_self_service_sign_up import (
            OnAuthenticationMethodLoadStartExternalUsersSelfServiceSignUp as Methods,
        )
        from msgraph.generated.models.on_interactive_auth_flow_start_external_users_self_service_sign_up import (
            OnInteractiveAuthFlowStartExternalUsersSelfServiceSignUp as Start,
        )

        return EventsFlow(
            display_name=self._profile.names.user_flow,
            description=MADE_BY,
            on_interactive_auth_flow_start=Start(is_sign_up_allowed=True),
            on_authentication_method_load_start=Methods(identity_providers=[IdentityProviderBase(id=EMAIL_PROVIDER)]),
            on_attribute_collection=_collected(),
        )

    def _card(self, status: str, flow: EventsFlow, sent: list[Sent]) -> Flow:
        apps = _apps(flow)
        return Flow(
            title=f"User flow {flow.display_name}",
            status=status,
            facts={
                "Flow id": flow.id or "",
                "Sign-in with": ", ".join(_providers(flow)),
                "Applications": ", ".join(apps),
                "Made by": "this kit" if TAG in (flow.description or "") else "somebody else",
            },
            sent=tuple(sent),
            flow_id=flow.id or "",
            name=flow.display_name or "",
            app_ids=apps,
        )


def _collected() -> Any:
    """What people enter when they sign up: e-mail and display name, as in the reference's first example."""
    from msgraph.generated.models.identity_user_flow_attribute import IdentityUserFlowAttribute as Attribute
    from msgraph.generated.models.identity_user_flow_attribute_data_type import IdentityUserFlowAttributeDataType
    from msgraph.generated.models.identity_user_flow_attribute_type import IdentityUserFlowAttributeType
    from msgraph.generated.models.on_attribute_collection_external_users_self_service_sign_up import (
        OnAttributeCollectionExternalUsersSelfServiceSignUp as Collection,
    )

    kind, text = IdentityUserFlowAttributeType.BuiltIn, IdentityUserFlowAttributeDataType.String
    return Collection(
        attributes=[
            Attribute(id="email", display_name="Email Address", user_flow_attribute_type=kind, data_type=text),
            Attribute(id="displayName", display_name="Display Name", user_flow_attribute_type=kind, data_type=text),
        ],
        attribute_collection_page=_page(),
    )


def _page() -> Any:
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

    email = Input(
        attribute="email",
        label="Email Address",
        input_type=InputType.Text,
        hidden=True,
        editable=False,
        write_to_directory=True,
        required=True,
        validation_reg_ex=_EMAIL,
    )
    name = Input(
        attribute="displayName",
        label="Display Name",
        input_type=InputType.Text,
        hidden=False,
        editable=True,
        write_to_directory=True,
        required=False,
    )
    return AuthenticationAttributeCollectionPage(views=[View(inputs=[email, name])])


def _apps(flow: EventsFlow) -> tuple[str, ...]:
    applications = flow.conditions.applications if flow.conditions else None
    return tuple(each.app_id or "" for each in (applications.include_applications if applications else None) or [])


def _providers(flow: EventsFlow) -> tuple[str, ...]:
    methods: Any = flow.on_authentication_method_load_start
    return tuple(each.id or "" for each in (methods.identity_providers if methods else None) or [])
