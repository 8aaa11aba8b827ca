"""The command `jitkit`."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jitkit.errors import BadTable, KitError, SettingsError

if TYPE_CHECKING:
    from helpers.checks import Checked
    from jitkit.display import Table


_NEW_TROUBLE: Final = 3  # argparse ends with 2 for words that it does not know


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 when everything passed, 1 when something did not, 130 after Ctrl-C.

    It is 141, as for other commands, where the reader of the output (such as `head`) went away before its end.
    """
    parser = _parser()
    chosen, further = parser.parse_known_args(arguments)
    if further and chosen.run is not _lab:
        parser.error(f"unrecognized arguments: {' '.join(further)}")
    if chosen.run is None:
        parser.exit(2, parser.format_help())
    chosen.further = further
    try:
        code = int(chosen.run(chosen) or 0)
        sys.stdout.flush()
        return code
    except KitError as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nStopped by you. {chosen.stopped}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # What is still in the buffer goes nowhere; else Python would try to write it on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jitkit", description="Set up, rehearse and follow a just-in-time password migration to Entra External ID."
    )
    parser.set_defaults(run=None, stopped="Run the same command again; nothing is lost.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    rehearse = commands.add_parser("rehearse", help="run every notebook and 90 days of sign-ins against a fresh tenant")
    rehearse.add_argument("--html", type=Path, metavar="DIR", help="also write the executed notebooks as HTML here")
    rehearse.set_defaults(
        run=_rehearse,
        stopped="What you set up by hand is untouched, and pages that --html wrote stay. The next rehearsal starts at"
        " its first notebook, with a fresh tenant.",
    )

    prepare = commands.add_parser("prepare", help="make a rehearsal tenant that is ready for a notebook")
    prepare.add_argument("notebook", metavar="NOTEBOOK", help="its two digits, such as 07: those before it are run")
    prepare.set_defaults(run=_prepare, stopped="Delete the state folder, then run the same command again.")

    lab = commands.add_parser(
        "lab",
        help="open JupyterLab at the first notebook; further arguments go to Jupyter",
        usage="%(prog)s [-h] [JUPYTER ARGUMENTS ...]",
        epilog="Arguments such as --no-browser or --port 8899 go to Jupyter, which lists them with: jupyter lab --help",
    )
    lab.set_defaults(run=_lab)

    endpoint = commands.add_parser("endpoint", help="serve the endpoint from environment settings")
    endpoint.add_argument("--host", default="127.0.0.1")
    endpoint.add_argument("--port", type=int, default=7071)
    endpoint.set_defaults(run=_endpoint)

    _add_check(commands.add_parser("check", help="run the conformance suite against an endpoint, in any language"))

    _add_report(commands.add_parser("report", help="write the report of a migration from its tables"))

    collect = commands.add_parser(
        "collect", help="read what is new in the tenant's logs, without questions, into tables for the report"
    )
    collect.add_argument("--out", type=Path, default=Path("tables"), metavar="DIR", help="folder for the tables")
    collect.set_defaults(run=_collect)

    package = commands.add_parser("package", help="write a folder with the endpoint that can be deployed")
    package.add_argument("kind", choices=("functions", "container"), help="Azure Functions project or container build")
    package.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder, or the one of last time")
    package.set_defaults(run=_package)

    doctor = commands.add_parser("doctor", help="check tenant, endpoint and host before going live; changes nothing")
    doctor.add_argument("--resource-group", default="", metavar="NAME", help="of the function app")
    doctor.add_argument("--app", default="", metavar="NAME", help="the function app, read through the Azure CLI")
    doctor.add_argument("--vault", default="", metavar="NAME", help="the key vault, if the settings do not name it")
    doctor.add_argument("--settings", type=Path, metavar="FILE", help="the endpoint's settings, where it is elsewhere")
    doctor.add_argument("--lock-after", type=int, metavar="N", help="guesses after which the legacy store locks")
    doctor.set_defaults(run=_doctor)

    rehearsal = commands.add_parser("rehearsal", help="serve the rehearsal tenant on loopback")
    rehearsal.add_argument("--port", type=int, default=0)
    rehearsal.add_argument("--tls", action="store_true", help="serve HTTPS, with a certificate authority of its own")
    rehearsal.add_argument("--production", action="store_true", help="make it a tenant that other people use")
    rehearsal.set_defaults(run=_rehearsal)
    return parser


def _add_check(check: argparse.ArgumentParser) -> None:
    which = check.add_mutually_exclusive_group(required=True)
    which.add_argument("url", nargs="?", metavar="URL", help="the endpoint")
    which.add_argument("--self", action="store_true", dest="own", help="start the kit's own endpoint and check it")
    which.add_argument("--write-config", type=Path, metavar="FILE", help="write a configuration to start from")
    check.add_argument(
        "--config", type=Path, metavar="FILE", help="the tenant and apps that the endpoint serves (TOML or JSON)"
    )
    check.add_argument("--only", default="", metavar="IDS", help="the cases with these ids, joined by commas")
    check.add_argument("--json", type=Path, metavar="FILE", dest="json_file", help="also write the results as JSON")
    check.add_argument("--junit", type=Path, metavar="FILE", dest="junit_file", help="also write them as JUnit XML")
    check.set_defaults(run=_check)


def _add_report(report: argparse.ArgumentParser) -> None:
    report.add_argument(
        "inputs", nargs="*", type=Path, metavar="FILE_OR_FOLDER", help="tables and exports; columns say what each is"
    )
    report.add_argument("--users", type=Path, metavar="FILE", help="who is in scope")
    report.add_argument("--sign-ins", type=Path, metavar="FILE", help="the tenant's sign-in log")
    report.add_argument("--ledger", type=Path, metavar="FILE", help="the endpoint's ledger")
    report.add_argument(
        "--dates", default="", metavar="HOW", help="dates that have two meanings: day-first, month-first or excel"
    )
    report.add_argument("--zone", default="UTC", metavar="ZONE", help="of times that name none, such as Europe/Berlin")
    report.add_argument("--flag", default="", metavar="NAME", help="the migration's, where the files tell of several")
    report.add_argument(
        "--as-of", metavar="TIME", help="until when to report (UTC); the last moment in the files if left out"
    )
    report.add_argument(
        "--out", type=Path, default=Path("report"), metavar="DIR", help="folder for the page and its numbers"
    )
    report.add_argument(
        "--target", default="0.95", metavar="SHARE", help="moved before the old system goes: 0.95 or 95 (percent)"
    )
    report.add_argument("--certificate-ends", metavar="TIME", help="until when the certificate is valid (UTC)")
    report.add_argument(
        "--mail", action="append", default=[], dest="mails", metavar="DATE", help="a reminder to all; may be repeated"
    )
    report.add_argument("--deadline", metavar="DATE", help="the last day that people were told")
    report.add_argument("--mail-out", type=Path, metavar="FILE", help="also write a short mail with pictures: FILE.eml")
    report.add_argument(
        "--exit-code", action="store_true", help="end with 3 if something new, since the last report, needs action"
    )
    report.set_defaults(run=_report)


def _report(chosen: argparse.Namespace) -> int:
    from jitkit.progress.command import report

    given = {"users": chosen.users, "sign_ins": chosen.sign_ins, "ledger": chosen.ledger}
    files = {kind: path for kind, path in given.items() if path is not None}
    names = ("inputs", "dates", "zone", "flag", "as_of", "target", "certificate_ends", "mails", "deadline", "mail_out")
    said, changes = report(files, chosen.out, **{name: getattr(chosen, name) for name in names})
    print(said)
    if not (chosen.exit_code and changes.trouble):
        return 0
    print(f"Needs action: {'; '.join(changes.trouble)}.", file=sys.stderr)
    return _NEW_TROUBLE


def _collect(chosen: argparse.Namespace) -> int:
    import asyncio

    from helpers import kit, settings

    profile = settings.load(settings.home())
    if profile.asks_a_person:
        raise SettingsError(
            f"The credential {profile.credential} asks a person, and jitkit collect asks nobody.",
            next_step="In notebook 00, choose azure-cli, client-certificate, or client-secret and AZURE_CLIENT_SECRET.",
        )

    async def collect() -> Table:
        s = await kit.open()
        try:
            known = None
            try:
                known = await s.users.dimensions(s.export())
            except (BadTable, SettingsError) as problem:
                print(f"Without country and app of the users. {problem}", file=sys.stderr)
            return await s.progress.save(chosen.out, known)
        finally:
            await s.close()

    read = asyncio.run(collect())
    for table, rows, since, until, unknown, *_ in read.rows:
        print(f"{str(table).replace('_', '-'):10}{rows:>12} rows   {since}{' to ' if until else ''}{until}".rstrip())
        if unknown:
            print(f"{'':10}{unknown}")
    print(f"\nTables     {chosen.out}\nNext: jitkit report {chosen.out}")
    return 1 if read.note else 0


def _package(chosen: argparse.Namespace) -> None:
    from jitkit.hosting.package import package

    written = package(chosen.kind, chosen.out)
    print(written.caption, *(f"  {file:24}{status}" for file, status in written.rows), written.note, sep="\n")


def _doctor(chosen: argparse.Namespace) -> int:
    import asyncio

    from helpers import kit

    names = ("resource_group", "app", "vault", "settings", "lock_after")

    async def check() -> Checked:
        s = await kit.open()
        try:
            return await s.check("go-live", **{name: getattr(chosen, name) for name in names})
        finally:
            await s.close()

    checked = asyncio.run(check())
    for what, verdict, found, fix in checked.rows:
        print(f"{str(verdict).upper():12} {what}: {found}", *([f"{'':12} Next: {fix}"] if fix else []), sep="\n")
    print(f"\n{checked.caption}. {checked.note}")
    return 1 if checked.faults else 0


def _check(chosen: argparse.Namespace) -> int:
    from jitkit.conformance.check import check, write_config

    if chosen.write_config:
        print(write_config(chosen.write_config))
        return 0
    only = [name.strip().upper() for name in chosen.only.split(",") if name.strip()]
    files = {"json_file": chosen.json_file, "junit_file": chosen.junit_file}
    return check(chosen.url, chosen.config, only=only, say=lambda text: print(text, flush=True), **files)


def _rehearse(chosen: argparse.Namespace) -> None:
    from helpers.run_notebooks import rehearse

    _end_as_after_ctrl_c()
    rehearse(html=chosen.html)


def _prepare(chosen: argparse.Namespace) -> None:
    from helpers.run_notebooks import prepare

    _end_as_after_ctrl_c()
    prepare(chosen.notebook)


def _end_as_after_ctrl_c() -> None:
    if threading.current_thread() is not threading.main_thread():  # only that one is sent signals
        return
    for name in ("SIGHUP", "SIGTERM"):  # a closed terminal, which Windows does not signal; `kill`
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores it on purpose
            signal.signal(number, _stop)


def _stop(*_: object) -> None:
    """End as after Ctrl-C, also where a script started this in the background, which ignores Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _lab(chosen: argparse.Namespace) -> None:
    from jupyterlab.labapp import LabApp

    # Kernels run this file when they start; a file of your own for that takes precedence.
    os.environ.setdefault("PYTHONSTARTUP", str(Path(__file__).with_name("kernel_start.py")))
    LabApp.launch_instance(_lab_arguments(chosen.further))


def _lab_arguments(further: Sequence[str]) -> list[str]:
    """Return Jupyter's arguments: the kit's own, unless `further` has them too, then `further`."""
    from helpers.run_notebooks import in_order
    from helpers.settings import home

    first, beside_state = in_order()[0], home().parent
    root = beside_state if (beside_state / "notebooks" / first.name).exists() else first.parents[1]
    if home().is_relative_to(root) and not any(part.startswith(".") for part in home().relative_to(root).parts):
        raise KitError(
            f"JupyterLab would show the private keys in {home()}, because that folder lies in {root}.",
            next_step="Set JIT_KIT_HOME to a folder elsewhere, or to one whose name starts with a dot.",
        )
    own = [
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/notebooks/{first.name}",
        "--ContentsManager.allow_hidden=False",  # the state folder holds private keys
        "--ContentsManager.pre_save_hook=helpers.__main__.strip_outputs",
        # Nothing here needs the network, so JupyterLab does not look for a newer version of itself.
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    given = {each.split("=")[0] for each in further}
    if getattr(os, "geteuid", lambda: 1)() == 0 and "--allow-root" not in given:
        own.append("--allow-root")
        print("You are root, and so is JupyterLab: anyone with its address and token can change this whole machine.")
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    if sys.platform == "linux" and not any(map(os.environ.get, screens)) and "--no-browser" not in given:
        own.append("--no-browser")
        print(
            "There is no screen here, so open the address that JupyterLab prints. From another machine first run"
            " `ssh -L 8888:localhost:8888 USER@THIS-MACHINE` there, with the port of that address."
        )
    if codespace := os.environ.get("CODESPACE_NAME"):  # its browser asks by another name than this machine's
        domain = os.environ.get("GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN", "app.github.dev")
        own.append(f"--ServerApp.allow_origin_pat=https://{re.escape(codespace)}-[0-9]+[.]{re.escape(domain)}$")
    return [*(each for each in own if each.split("=")[0] not in given), *further]


def strip_outputs(model: dict[str, Any], **_: Any) -> None:
    """Take the outputs out of a notebook that JupyterLab is about to save, once a real tenant was chosen.

    They stay on the page until it is closed. On the disk, and so in git, there is nothing about a real tenant.
    """
    from helpers.settings import has_real_tenant, home

    if model["type"] != "notebook" or not has_real_tenant(home()):
        return
    model["content"]["metadata"].pop("widgets", None)
    for cell in model["content"]["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)


def _endpoint(chosen: argparse.Namespace) -> None:
    from jitkit.endpoint.serve import serve

    serve(host=chosen.host, port=chosen.port)


def _rehearsal(chosen: argparse.Namespace) -> None:
    from helpers.settings import home
    from jitkit.rehearsal.serve import serve

    serve(home() / "rehearsal.sqlite3", port=chosen.port, tls=chosen.tls, production=chosen.production)


if __name__ == "__main__":
    sys.exit(main())
