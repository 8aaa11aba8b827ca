"""The sign-in log and the audit log, as Graph serves them.

[Microsoft Graph: signIn (v1.0 and beta), appliedAuthenticationEventListener and customExtensionCalloutResult (beta) and
directoryAudit (v1.0); Microsoft Learn, "Microsoft Entra data retention": an external tenant keeps seven days]
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from jitkit.rehearsal import switches
from jitkit.rehearsal.directory import Body
from jitkit.rehearsal.graph import odata
from jitkit.rehearsal.graph.resource import Resource, defaults
from jitkit.rehearsal.graph.wire import Call, refusal

_KEPT_SECONDS: Final = 7 * 86_400.0
_USUAL: Final = defaults("signIn")


class DirectoryAudits(Resource):
    """A log, newest row first: from what has arrived by now back to what is still kept."""

    kind, model = "directoryAudit", "DirectoryAudit"
    paths = ("/auditLogs/directoryAudits",)
    read = ("AuditLog.Read.All",)
    operations = "list get"

    def items(self, call: Call) -> odata.Collection:
        now = call.directory.clock.now()
        return odata.Collection(
            self.context(call),
            self.model,
            "kind = ? AND time BETWEEN ? AND ?",
            (self.kind, now - _KEPT_SECONDS, now - float(switches.read(call.directory, "log_delay"))),
            table="log",
            unknown=self.unknown,
            top=(1000, 1000),
            order=("time", True),
        )


class SignIns(DirectoryAudits):
    """The sign-in log, which needs a P1 licence."""

    kind, model = "signIn", "SignIn"
    unknown = frozenset({"authenticationDetails", "originalRequestId", "uniqueTokenIdentifier"})
    paths = ("/auditLogs/signIns",)

    def items(self, call: Call) -> odata.Collection:
        if not switches.is_on(call.directory, "p1_licence"):
            raise refusal("not-premium")
        return replace(super().items(call), usual=_usual(call.version, call.tenant_id))

    def shown(self, call: Call, item: Body) -> Body:
        """The name of an event is hidden from a caller who did not say that they can read it."""
        row = whole_sign_in(item, call.version, call.tenant_id)
        if call.version != "v1.0" and "include-unknown-enum-members" not in call.headers.get("prefer", ""):
            hidden = {"passwordSubmit": "unknownFutureValue"}
            row["appliedEventListeners"] = [
                {**each, "eventType": hidden.get(each.get("eventType"), each.get("eventType"))}
                for each in row["appliedEventListeners"]
            ]
        return row


def whole_sign_in(row: Body, version: str, tenant_id: str) -> Body:
    """Add to a stored row of the sign-in log what is the same in every row; v1.0 knows fewer properties than beta."""
    usual = _usual(version, tenant_id)
    if version == "v1.0":
        beta_only = _USUAL["beta"].keys() - _USUAL["v1.0"].keys()
        return {**usual, **{name: value for name, value in row.items() if name not in beta_only}}
    own = {"originalRequestId": row.get("id"), "uniqueTokenIdentifier": ""}
    details = {} if "authenticationDetails" in row else {"authenticationDetails": [_password_step(row)]}
    return {**usual, **own, **details, **row}


def _usual(version: str, tenant_id: str) -> Body:
    """What every row says."""
    tenant = {} if version == "v1.0" else {"homeTenantId": tenant_id, "resourceTenantId": tenant_id}
    return {**_USUAL["always"], **_USUAL[version], **tenant}


def _password_step(row: Body) -> Body:
    code = (row.get("status") or {}).get("errorCode")
    wrong = "Invalid username or password or Invalid on-premise username or password."
    return {
        "authenticationStepDateTime": row.get("createdDateTime"),
        "authenticationMethod": "Password",
        "authenticationMethodDetail": "Password in the cloud",
        "succeeded": code in (0, 50055, 50076, 50125, 53003),
        "authenticationStepResultDetail": wrong if code == 50126 else None,
        "authenticationStepRequirement": "Primary authentication",
    }
