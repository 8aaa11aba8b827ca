"""Changes to users: Graph v1.0 `/users/delta`.

Rules: Graph documentation, "Use delta query to track changes in Microsoft Graph data", "Get incremental changes for
users" and v1.0 "user: delta". What an expired token is answered with: "Duration of change tracking tokens for identity
and education resources" for the words, the first of these for the status and the Location. [assumed]: the words for an
option that delta does not take, and for a token that cannot be read.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import sqlite3
from dataclasses import asdict, dataclass, replace

from jitkit.rehearsal import switches
from jitkit.rehearsal.directory import Body, Directory
from jitkit.rehearsal.graph import odata, users
from jitkit.rehearsal.graph.filters import unsupported
from jitkit.rehearsal.graph.wire import Answer, Call, GraphError, GraphRoute
from jitkit.rehearsal.users import user_of

_LIFETIME = 7 * 86_400
_PAGE = 200
_MOST_IDS = 50
_ALLOWED = {"$select", "$filter", "$deltatoken", "$skiptoken"}
_ONE_ID = r"id\s+eq\s+'([^']*)'"


@dataclass(frozen=True)
class _State:
    """What a token carries.

    Args:
        tenant: which filling of the tenant it is about; a reset makes another one.
        issued: seconds since the epoch.
        since: changes up to here are known to the caller; None in a first round.
        upto: where this round ends; None between rounds.
        at: how far the pages of this round have come.
        select: the properties that are tracked; empty means those shown by default.
        ids: the only users that are tracked; empty means all.
    """

    tenant: str
    issued: float
    since: int | None = None
    upto: int | None = None
    at: int = 0
    select: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()


def routes() -> list[GraphRoute]:
    """The one operation."""
    return [GraphRoute("GET", "/users/delta", changes, users.READ, "user: delta")]


def changes(call: Call) -> Answer:
    """Answer with one page of a round: first everybody there is, later what changed since."""
    if not switches.is_on(call.directory, "delta_queries"):
        raise unsupported("Change tracking is not supported in this tenant.")
    for name in call.query.keys() - _ALLOWED:
        raise unsupported(f"The query option '{name}' is not supported by delta queries.")
    state = _state(call)
    if state.upto is None:
        state = replace(state, upto=_newest(call.directory), at=state.since or 0)
    found = _first_round(call.directory, state) if state.since is None else _later_round(call.directory, state)
    value = [_item(call, state, row) for row in found[:_PAGE]]
    now = call.directory.clock.now()
    if len(found) > _PAGE:
        following = replace(state, issued=now, at=found[_PAGE - 1]["_seq"])
        link = {"@odata.nextLink": _link(call, "$skiptoken", following)}
    else:
        following = replace(state, issued=now, since=state.upto, upto=None, at=0)
        link = {"@odata.deltaLink": _link(call, "$deltatoken", following)}
    # As printed, only the first page repeats what was selected.
    names = odata.selected(call)
    context = "users" + (f"({','.join(names)})" if names else "")
    return Answer(200, {"@odata.context": call.context(context), **link, "value": value})


def _state(call: Call) -> _State:
    token = call.query.get("$skiptoken") or call.query.get("$deltatoken")
    fresh = _State(call.directory.meta("seeded") or "", call.directory.clock.now())
    if token and token != "latest":  # noqa: S105
        return _valid(call, fresh, _read(token))
    fresh = replace(fresh, select=tuple(users.selected(call)), ids=_ids(call.query.get("$filter")))
    return replace(fresh, since=_newest(call.directory)) if token else fresh


def _valid(call: Call, fresh: _State, state: _State) -> _State:
    if state.tenant == fresh.tenant and fresh.issued - state.issued <= _LIFETIME:
        return state
    select = f"&$select={','.join(state.select)}" if state.select else ""
    raise GraphError(
        410,
        "syncStateNotFound",
        "The sync state generation is not found. The delta token is expired and data must be synchronized again.",
        headers={"Location": f"{call.base}/{call.version}/users/delta?$deltatoken={select}"},
    )


def _ids(text: str | None) -> tuple[str, ...]:
    if not text:
        return ()
    if not re.fullmatch(rf"\s*{_ONE_ID}(\s+or\s+{_ONE_ID})*\s*", text):
        raise unsupported("Only filters of the form id eq '…' or id eq '…' are supported by delta queries.")
    ids = tuple(re.findall(_ONE_ID, text))
    if len(ids) > _MOST_IDS:
        raise unsupported(f"At most {_MOST_IDS} objects can be tracked with a filter.")
    return ids


def _newest(directory: Directory) -> int:
    return int(directory.rows("SELECT coalesce(max(seq), 0) AS n FROM user_changes")[0]["n"])


def _first_round(directory: Directory, state: _State) -> list[sqlite3.Row]:
    """Everybody there is: who was deleted before the first round is not part of it."""
    only, ids = _only("c.user_id", state.ids)
    return directory.rows(
        "SELECT c.user_id AS _id, c.seq AS _seq, 1 AS _whole, u.* FROM user_changes c JOIN users u ON u.id = c.user_id"  # noqa: S608
        f" WHERE c.name = '' AND u.deleted IS NULL AND c.seq > ? AND c.seq <= ?{only} ORDER BY c.seq LIMIT ?",
        (state.at, state.upto, *ids, _PAGE + 1),
    )


def _later_round(directory: Directory, state: _State) -> list[sqlite3.Row]:
    """Who came, went or changed in a tracked property: each once, by their newest change."""
    only, ids = _only("user_id", state.ids)
    tracked, names = _only("name", ("", *(state.select or users.DEFAULT)))
    return directory.rows(
        "SELECT c.*, u.* FROM (SELECT user_id AS _id, max(seq) AS _seq, max(name = '') AS _whole FROM user_changes"  # noqa: S608
        f" WHERE seq > ? AND seq <= ?{only}{tracked} GROUP BY user_id) c LEFT JOIN users u ON u.id = c._id"
        " WHERE c._seq > ? ORDER BY c._seq LIMIT ?",
        (state.since, state.upto, *ids, *names, state.at, _PAGE + 1),
    )


def _only(column: str, values: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    return (f" AND {column} IN ({', '.join('?' * len(values))})", values) if values else ("", ())


def _item(call: Call, state: _State, row: sqlite3.Row) -> Body:
    """A user with their values, those set to null since among them; or what became of somebody who is gone."""
    if row["id"] is None or row["deleted"] is not None:
        return {"id": row["_id"], "@removed": {"reason": "deleted" if row["id"] is None else "changed"}}
    tracked = state.select or users.DEFAULT
    whole = users.shown(user_of(row), call.version, list(tracked))
    changed: set[str] = set()
    if state.since is not None:
        found = call.directory.rows(
            "SELECT name FROM user_changes WHERE user_id = ? AND seq > ? AND seq <= ?",
            (row["_id"], state.since, state.upto),
        )
        changed = {each["name"] for each in found}
    names = [name for name in tracked if whole.get(name) is not None or name in changed]
    if "return=minimal" in call.headers.get("prefer", "").replace(" ", "") and not row["_whole"]:
        names = [name for name in names if name in changed]
    return {**{name: whole.get(name) for name in names}, "id": row["_id"]}


def _link(call: Call, option: str, state: _State) -> str:
    token = base64.urlsafe_b64encode(json.dumps(list(asdict(state).values())).encode()).decode().rstrip("=")
    return f"{call.base}/{call.version}/users/delta?{option}={token}"


def _read(token: str) -> _State:
    try:
        tenant, issued, since, upto, at, select, ids = json.loads(
            base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        )
        return _State(str(tenant), float(issued), since, upto, int(at), tuple(select), tuple(ids))
    except (ValueError, TypeError, binascii.Error):
        raise GraphError(400, "Request_BadRequest", "Badly formed token.") from None
