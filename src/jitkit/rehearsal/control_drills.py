"""Break a served stand-in tenant on purpose, in any language: the routes behind what `s.rehearsal` does in Python."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jitkit.rehearsal import misconfigurations, newcomers, switches
from jitkit.rehearsal.control_guard import Bad, body, guarded
from jitkit.rehearsal.delay import KINDS
from jitkit.rehearsal.faults import FAULTS
from jitkit.rehearsal.snapshots import Snapshots

if TYPE_CHECKING:
    from jitkit.rehearsal.tenant import RehearsalTenant

# A century in seconds; what is larger is a slip, and NaN is no number.
_LARGEST: Final = 3_200_000_000


def routes() -> list[Route]:
    """List the routes; a body member in brackets may be left out.

    - `GET /rehearsal/drills`: what there is to break, and what is wrong now.
    - `PUT /rehearsal/misconfigurations/{name}` makes a mistake, `DELETE` takes it back.
    - `PUT /rehearsal/faults/{name}` with [`calls`], [`share`], [`seed`] switches a fault on;
      `DELETE /rehearsal/faults` switches all faults and delays off.
    - `PUT /rehearsal/delays/{kind}` with `looks`.
    - `PUT /rehearsal/switches/{name}` with `value`.
    - `GET /rehearsal/clock`, and `POST` with `seconds` to move it on.
    - `GET /rehearsal/calls`: the last calls to Graph and to endpoints.
    - `PUT /rehearsal/snapshots/{name}` keeps the tenant, `POST` to the same brings it back.
    - `POST /rehearsal/users` with `count` and [`seed`]: lets invented people in, and tells their names and passwords.
    """
    return [
        Route("/rehearsal/drills", guarded(_drills), methods=["GET"]),
        Route("/rehearsal/misconfigurations/{name}", guarded(_misconfigure), methods=["PUT", "DELETE"]),
        Route("/rehearsal/faults", guarded(_no_faults), methods=["DELETE"]),
        Route("/rehearsal/faults/{name}", guarded(_fault), methods=["PUT"]),
        Route("/rehearsal/delays/{name}", guarded(_delay), methods=["PUT"]),
        Route("/rehearsal/switches/{name}", guarded(_switch), methods=["PUT"]),
        Route("/rehearsal/clock", guarded(_clock), methods=["GET", "POST"]),
        Route("/rehearsal/calls", guarded(_calls), methods=["GET"]),
        Route("/rehearsal/snapshots/{name}", guarded(_snapshot), methods=["PUT", "POST"]),
        Route("/rehearsal/users", guarded(_users), methods=["POST"]),
    ]


async def _drills(request: Request, tenant: RehearsalTenant) -> Response:
    mistakes = [
        {"case": each.case, "name": each.name, "mistake": each.mistake, "symptom": each.symptom}
        for each in misconfigurations.MISCONFIGURATIONS
    ]
    answer = {
        "misconfigurations": mistakes,
        "wrongNow": misconfigurations.wrong_now(tenant.directory),
        "faults": [{"name": each.name, "means": each.means} for each in FAULTS.values()],
        "delays": list(KINDS),
        "switches": [
            {**asdict(each), "value": switches.read(tenant.directory, each.name)} for each in switches.SWITCHES.values()
        ],
    }
    return JSONResponse(answer)


async def _misconfigure(request: Request, tenant: RehearsalTenant) -> Response:
    name = request.path_params["name"]
    if request.method == "PUT":
        misconfigurations.misconfigure(tenant.directory, name)
    else:
        misconfigurations.configure(tenant.directory, name)
    return Response(status_code=204)


async def _fault(request: Request, tenant: RehearsalTenant) -> Response:
    given = await body(request)
    calls = given.get("calls", [])
    if not isinstance(calls, list) or not all(_whole(each) for each in calls):
        raise Bad("calls is a list of whole numbers.")
    share, seed = _number(given, "share", 1), _number(given, "seed", 0)
    tenant.faults.switch_on(request.path_params["name"], calls=calls, share=share, seed=int(seed))
    return Response(status_code=204)


async def _no_faults(request: Request, tenant: RehearsalTenant) -> Response:
    tenant.faults.clear()
    return Response(status_code=204)


async def _delay(request: Request, tenant: RehearsalTenant) -> Response:
    tenant.faults.delays.set(request.path_params["name"], int(_number(await body(request), "looks")))
    return Response(status_code=204)


async def _switch(request: Request, tenant: RehearsalTenant) -> Response:
    value = (await body(request)).get("value")
    if not isinstance(value, bool | int | float):
        raise Bad("The body needs value, true or false or a number.")
    switches.write(tenant.directory, request.path_params["name"], value)
    return Response(status_code=204)


async def _clock(request: Request, tenant: RehearsalTenant) -> Response:
    if request.method == "POST":
        tenant.directory.clock.forward(_number(await body(request), "seconds"))
    return JSONResponse({"now": tenant.directory.clock.now()})


async def _calls(request: Request, tenant: RehearsalTenant) -> Response:
    return JSONResponse({"calls": [asdict(each) for each in tenant.calls]})


async def _snapshot(request: Request, tenant: RehearsalTenant) -> Response:
    snapshots = Snapshots(tenant, tenant.path.parent / "snapshots")
    (snapshots.take if request.method == "PUT" else snapshots.restore)(request.path_params["name"])
    return Response(status_code=204)


async def _users(request: Request, tenant: RehearsalTenant) -> Response:
    given = await body(request)
    people = newcomers.settle(tenant.directory, int(_number(given, "count")), seed=int(_number(given, "seed", 1)))
    return JSONResponse({"users": [asdict(each) for each in people]}, status_code=201)


def _number(given: dict[str, Any], name: str, default: float | None = None) -> float:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LARGEST:
        raise Bad(f"{name} is a number from 0 to {_LARGEST:,}.")
    return value


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
