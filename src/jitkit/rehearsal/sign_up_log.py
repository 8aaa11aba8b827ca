"""The rows that a sign-up leaves [Microsoft Graph beta: selfServiceSignUp, "List signUps"].

Only a sign-up that ends with an account leaves rows here: what the service logs of a refused one is not documented.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from jitkit.rehearsal.journal import timestamp

if TYPE_CHECKING:
    from jitkit.rehearsal.client_app import ClientApp
    from jitkit.rehearsal.directory import Body, Directory
    from jitkit.rehearsal.users import User

__all__ = ["record_stages"]

_STAGES: Final = ("credentialCollection", "credentialValidation", "attributeCollectionAndValidation", "userCreation")


def record_stages(directory: Directory, client: ClientApp, user: User) -> None:
    """Append one row a stage.

    Args:
        directory: the tenant's directory.
        client: the app that the person came from.
        user: the account that was made.
    """
    now, correlation = directory.clock.now(), str(uuid.uuid4())
    for stage in _STAGES:
        row: Body = {
            "appDisplayName": client.name,
            "appId": client.app_id,
            "correlationId": correlation,
            "createdDateTime": timestamp(now),
            "id": str(uuid.uuid4()),
            "signUpStage": stage,
            "signUpIdentityProvider": "Email Password",
            "appliedEventListeners": [],
            "status": {"errorCode": 0, "failureReason": None, "additionalDetails": None},
            "signUpIdentity": {"signUpIdentifier": user.sign_in_name, "signUpIdentifierType": "emailAddress"},
            "userId": user.id if stage == _STAGES[-1] else None,
        }
        directory.append_log("signUp", row, time=now)
