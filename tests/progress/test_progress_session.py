"""Figures of a whole rehearsal tenant, collected again and again while days go by."""

from __future__ import annotations

import asyncio
import html
import itertools
import json
import re
import stat
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pandas as pd
import pytest
from sessions import Opening, answering

from helpers import kit, settings
from helpers.__main__ import main
from jitkit.errors import BadTable, NotReady
from jitkit.progress.collect import Archive
from jitkit.progress.command import read
from jitkit.progress.figures import quality
from jitkit.progress.output_files import save_tables
from jitkit.progress.report import Figures
from jitkit.progress.states import summary
from jitkit.progress.tables import Tables

DAYS = 86_400


async def test_a_tenant_is_collected_again_after_days_and_agrees_with_its_own_count(
    home: Path, opening: Opening
) -> None:
    s = await opening(home)
    await s.endpoint.ensure()
    directory = s.world.rehearsal_tenant.directory  # type: ignore[attr-defined]
    first = await s.progress.collect()
    # The log was read until now: that nobody is in it says that nobody came.
    assert summary(first.tables)["states"]["never_seen"] == first.counts["in_scope"] > 5
    for name in itertools.islice(s.world.people, 2):
        assert (await s.sign_in(name)).migrated
    second = await s.progress.collect()
    assert summary(second.tables)["states"]["migrated_by_call"] == second.counts["migrated"] == 2
    assert quality(second.tables).empty

    directory.clock.forward(9 * DAYS)
    await s.sign_in([*s.world.people][3])
    third = await s.progress.collect()
    counts = await s.users.counts()
    assert (third.counts["migrated"], third.counts["remaining"]) == (counts.migrated, counts.to_migrate)
    assert len(third.tables.sign_ins) == len(second.tables.sign_ins) + 1
    assert third.tables.users["migrated_at"].min() == second.tables.users["migrated_at"].min()
    found = quality(third.tables).set_index("finding")["rows"]
    # Two whole days, cut where midnight falls.
    assert found["days of which the sign-in log was not collected"] in (2, 3)


async def test_two_collections_do_not_write_into_one_history_at_once(home: Path, opening: Opening) -> None:
    s = await opening(home)
    once = await s.progress.collect()
    folder = history(home)
    with Archive(folder).alone(), pytest.raises(NotReady, match="same history"):
        await s.progress.collect()
    # Another process, which dies with the lock in its hands.
    code = (
        "import sys, pathlib; from jitkit.progress.collect import Archive\n"
        "with Archive(pathlib.Path(sys.argv[1])).alone(): print('held', flush=True); input()"
    )
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(folder), stdin=PIPE, stdout=PIPE)
    assert other.stdout is not None
    assert (await other.stdout.readline()).strip() == b"held"
    with pytest.raises(NotReady, match="same history"):
        await s.progress.collect()
    other.kill()
    await other.communicate()
    assert (await s.progress.collect()).counts == once.counts
    assert modes(folder) == {0o600}


def history(home: Path) -> Path:
    (state,) = home.rglob("state.json")
    return state.parent


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


async def test_without_the_sign_in_log_the_figures_go_on_and_say_what_is_missing(
    home: Path, opening: Opening, tmp_path: Path
) -> None:
    """B3: the refusal of one log stopped every figure, with advice on roles."""
    s = await opening(home)
    await s.endpoint.ensure()
    s.rehearsal.switch("p1_licence", False)
    first, second, *_ = s.world.people
    assert (await s.sign_in(first)).migrated
    await s.sign_in(second, password="not the old one, Juniper-27")
    figures, counts = await s.progress.collect(), await s.users.counts()
    assert (figures.counts["migrated"], figures.counts["remaining"]) == (counts.migrated, counts.to_migrate)
    assert {row[1] for row in (await s.checkpoint("08")).rows} == {"yes"}
    for words in (figures.totals().note, figures.in_words()):
        assert "The sign-in log was not read (the tenant has no licence" in words and "P1 or P2" in words

    metrics = json.loads((figures.report(tmp_path).parent / "metrics.json").read_text())
    assert (metrics["migrated"], metrics["confirmed"], metrics["missing_days"]) == (1, None, None)
    assert (metrics["health"]["outages"], metrics["health"]["outage_minutes"]) == (None, None)
    assert metrics["not_read"].keys() == {"sign_ins"}
    states = {name: count for name, count in metrics["states"].items() if count}
    assert states == {"not_covered": 1, "attempted": 1, "flagged": counts.to_migrate - 1}

    page = html.unescape((tmp_path / "report.html").read_text())
    claims = (
        "never tried", "not tried", "no sign-in since", "no sign-in confirms", "no outage", "agree about 0",
        "The flag, the sign-in log", "used a name that no user has", "has not been called", "No log contradicts",
    )  # fmt: skip
    assert [claim for claim in claims if claim in page] == []
    assert "have tried is not known. 1 have" in page and "whether they tried, only the sign-in log says" in page
    stragglers = pd.read_csv(tmp_path / "stragglers.csv")
    assert set(stragglers["state"]) == {"attempted", "flagged"}

    # The licence came: everything is read that the service still keeps.
    s.rehearsal.switch("p1_licence", True)
    whole = await s.progress.collect()
    assert whole.tables.unread == {} and not whole.totals().note
    assert summary(whole.tables)["confirmed"] == 1


async def test_without_both_logs_and_the_ledger_the_flags_give_the_totals(
    home: Path, opening: Opening, tmp_path: Path
) -> None:
    s = await opening(home)
    await s.endpoint.ensure()
    [name, *_] = s.world.people
    assert (await s.sign_in(name)).migrated
    answering(s).refused["GET .*/auditLogs/"] = (
        403,
        "Authentication_RequestFromUnsupportedUserRole",
        "User is not in the allowed roles",
    )
    s.endpoint.ledger_path.unlink()
    figures = await s.progress.collect()
    assert figures.counts["migrated"] == 1
    assert figures.tables.unread.keys() == {"sign_ins", "audits"}
    assert all("Reports Reader" in sentence for sentence in figures.tables.unread.values())
    page = html.unescape(figures.report(tmp_path).read_text())
    assert "<figcaption>No ledger shows a call</figcaption>" in page
    assert "has not been called" not in page and "no outage" not in page


def test_a_scheduler_collects_what_notebook_08_does_and_the_report_says_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(home))
    monkeypatch.setattr("builtins.input", None)
    name = asyncio.run(signed_in(home))
    out = tmp_path / "tables"
    assert main(["collect", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert re.search(r"sign-ins +1 rows +20\d\d-", said.out) and f"Next: jitkit report {out}" in said.out
    assert modes(out) == {0o600}
    figures = Figures(read(out))
    assert figures.counts["migrated"] == 1 and {"country", "app"} <= {*figures.dimensions}
    # The log was read until now, though its last row is older: the note of the collection says so.
    assert not figures.tables.blind and summary(figures.tables)["states"]["never_seen"] == figures.counts["remaining"]
    assert name not in b"".join(path.read_bytes() for path in out.iterdir()).decode(errors="ignore")
    assert main(["report", str(out), "--out", str(tmp_path / "report")]) == 0
    assert "1 of " in capsys.readouterr().out


async def signed_in(home: Path) -> str:
    s = await kit.open(home)
    try:
        await s.endpoint.ensure()
        name = next(iter(s.world.people))
        assert (await s.sign_in(name)).migrated
        return name
    finally:
        await s.close()


def test_a_log_that_is_refused_or_an_export_that_is_gone_does_not_stop_the_collection(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(home))
    asyncio.run(without_licence(home))
    settings.save(home, settings.load(home).model_copy(update={"export": str(tmp_path / "gone.csv")}))
    assert main(["collect", "--out", str(tmp_path / "tables")]) == 1
    said = capsys.readouterr()
    assert "Without country and app" in said.err and "gone.csv" in said.err
    assert "The sign-in log was not read (the tenant has no licence" in said.out
    figures = Figures(read(tmp_path / "tables"))
    assert figures.counts["in_scope"] > 5 and figures.tables.unread.keys() == {"sign_ins"}
    assert "P1 or P2" in figures.in_words()


async def without_licence(home: Path) -> None:
    s = await kit.open(home)
    try:
        s.rehearsal.switch("p1_licence", False)
    finally:
        await s.close()


def test_a_credential_that_asks_a_person_is_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path))
    monkeypatch.delenv("AZURE_CLIENT_SECRET", raising=False)
    live = settings.Profile(mode="live", tenant="contoso.onmicrosoft.com", endpoint_host="jit.contoso.com")
    for credential, asks in {"browser": True, "device-code": True, "client-secret": True, "azure-cli": False}.items():
        assert live.model_copy(update={"credential": credential}).asks_a_person is asks
    settings.save(tmp_path, live)
    assert main(["collect"]) == 1
    assert "The credential browser asks a person" in capsys.readouterr().err


def test_a_report_next_to_collected_tables_does_not_make_the_next_one_forget_their_note(tmp_path: Path) -> None:
    row = {"user_id": ["a"], "flagged_at": ["2026-11-02T09:00Z"], "migrated_at": [None]}
    save_tables(Tables(users=pd.DataFrame(row), as_of=pd.Timestamp("2026-11-09T09:00Z")), tmp_path)
    for _ in range(2):
        assert main(["report", str(tmp_path), "--out", str(tmp_path / "report")]) == 0
        assert json.loads((tmp_path / "report" / "metrics.json").read_text())["as_of"] == "2026-11-09T09:00:00Z"


def test_a_note_of_a_collection_that_was_changed_is_refused(tmp_path: Path) -> None:
    save_tables(Tables(users=pd.DataFrame({"user_id": ["a"], "migrated_at": [None]})), tmp_path)
    (tmp_path / ".collected.json").write_text("{}")
    with pytest.raises(BadTable, match="was changed"):
        read(tmp_path)
    # With a file from elsewhere, the note no longer describes what is in the folder.
    (tmp_path / "more.csv").write_text("user_id,migrated_at\nb,\n")
    assert len(read(tmp_path).users) == 2


def test_sign_ins_that_differ_in_their_correlation_id_alone_stay_two(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text(
        "user_id,flagged_at,migrated_at,country\na,2026-11-01,,DE\nb,2026-11-01,,FR\nlater,2026-12-01,,DE\n"
    )
    row = "2026-11-02T09:00:00Z,a,1100001,1003005"
    (tmp_path / "sign_ins.csv").write_text(
        f"time,user_id,result_code,callout_error,correlation_id\n{row},c-1\n{row},c-2\n"
    )
    (tmp_path / "ledger.csv").write_text("time,action,cause,correlation_id\n2026-11-02T09:00:00Z,Retry,wrong,c-3\n")
    tables = read(tmp_path, until=pd.Timestamp("2026-11-20T00:00Z"))
    assert (len(tables.users), len(tables.planned), len(tables.sign_ins)) == (2, 1, 2)
    assert len(Figures(tables).only(country="DE").tables.sign_ins) == 2
