"""An export is read as it is, judged in words, and never leaks a hash."""

from __future__ import annotations

import csv
import sqlite3
import stat
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from helpers import kit
from helpers.legacy_export import read_export
from jitkit.errors import BadTable, SettingsError
from jitkit.sign_in_names import normalise

SAMPLE = Path(__file__).parents[2] / "sample_data" / "legacy_users.csv"
BCRYPT = "$2b$04$CCCCCCCCCCCCCCCCCCCCCu3KXVDsESjQgYpu2eQ6h3zIVFdwM2Aa2"


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "export.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_the_sample_export_is_read_whole() -> None:
    export = read_export(SAMPLE)
    assert (len(export.users), export.skipped) == (1988, 12)
    assert len([problem for problem in export.problems if not problem.skipped]) == 13 + 6 + 4
    ada = export.users[0]
    assert (ada.username, ada.display_name, ada.country) == ("ada@woodgrove.example", "Ada Lindqvist", "SE")
    assert (ada.status, ada.must_change, ada.last_legacy_sign_in) == ("active", False, date(2026, 10, 28))
    assert len({user.username for user in export.users}) == len(export.users)
    assert sum(user.must_change for user in export.users) == 37


def test_a_name_alone_is_enough(tmp_path: Path) -> None:
    (user,) = read_export(write(tmp_path, "username\nada@example.com\n")).users
    assert (user.status, user.must_change, user.display_name, user.last_legacy_sign_in) == ("active", False, "", None)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_byte_order_mark_and_odd_headers(tmp_path: Path, separator: str, encoding: str) -> None:
    lines = [separator.join(row) for row in ((" Username", "Display_Name", "shoe"), ("A@example.com ", "Zoë", "41"))]
    (user,) = read_export(write(tmp_path, "\r\n".join(lines), encoding)).users
    assert (user.username, user.display_name) == ("a@example.com", "Zoë")


def test_normalising_keeps_dots_tags_and_sharp_s() -> None:
    assert normalise(" A.b+C@Example.COM\t") == "a.b+c@example.com"
    assert normalise("STRAßE@example.com") == "straße@example.com"
    assert normalise("zoe\u0308@example.com") == "zoë@example.com"


def test_rows_that_share_a_name_are_all_skipped_and_repeated_lines_count_once(tmp_path: Path) -> None:
    text = "username,country\na@example.com,DE\nA@EXAMPLE.com ,FR\nb@example.com,IT\nb@example.com,IT\n"
    export = read_export(write(tmp_path, text))
    assert [user.username for user in export.users] == ["b@example.com"]
    assert [(problem.line, problem.skipped) for problem in export.problems] == [(2, True), (3, True), (5, True)]
    assert "repeats" in export.problems[2].cause


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        (",active,0,", "empty"),
        ("NULL,active,0,", "empty"),
        ("ada.l,active,0,", "letters a to z, digits, - and _ only, not full stop"),
        ("a b@example.com,active,0,", "not an e-mail"),
        ("a@b@example.com,active,0,", "not an e-mail"),
        ("a@example.com,suspended,0,", "none of active, locked, disabled"),
        ("a@example.com,active,perhaps,", "neither 1 nor 0"),
        ("a@example.com,active,0,2026-01-01,extra", "more or fewer fields"),
    ],
)
def test_rows_without_a_possible_user_are_skipped(tmp_path: Path, row: str, cause: str) -> None:
    export = read_export(write(tmp_path, f"username,status,must_change,last_legacy_sign_in\n{row}\nz@example.com,,,\n"))
    assert [user.username for user in export.users] == ["z@example.com"]
    (problem,) = export.problems
    assert (problem.line, problem.skipped) == (2, True)
    assert cause in problem.cause


# Case 5 of the public ones, a sign-in name that nobody can type, and its neighbours: what was exported, what is taken
# off, by the name of the character.
CLEANED = [
    ("'ann@contoso.example", "apostrophe (U+0027)"),
    ("ann@contoso.example\u200b", "zero width space (U+200B)"),
    ("\ufeffann@contoso.example", "byte order mark (U+FEFF)"),
    ("ann@con\xadtoso.example", "soft hyphen (U+00AD)"),
    ("\u200dann@contoso.example", "zero width joiner (U+200D)"),
    ("ann@contoso.example\0", "NUL (U+0000)"),
    ("ann@contoso.example;", "semicolon (U+003B)"),
    ("ann@contoso.example,", "comma (U+002C)"),
    ("Ann@contoso.example. ", "full stop (U+002E)"),
    ("\u202aann@contoso.example\u202c", "left-to-right embedding (U+202A), pop directional formatting (U+202C)"),
    ("ann@contoso.example\u00a0", "no-break space (U+00A0)"),
    ("\u3000ann@contoso.example", "ideographic space (U+3000)"),
    ("ann\u2060@contoso.example\ufe0f", "variation selector-16 (U+FE0F), word joiner (U+2060)"),
    ("ann@contoso.example\u3164", "hangul filler (U+3164)"),
    ("\x1fann@contoso.example", "control character (U+001F)"),
    ('"ann@contoso.example"', "quotation mark (U+0022)"),
    ("\u201cann@contoso.example\u201d", "left double quotation mark (U+201C), right double quotation mark (U+201D)"),
    ('="ann@contoso.example"', "equals sign (U+003D), quotation mark (U+0022)"),
    ("mailto:ann@contoso.example", "mailto:"),
    ("SMTP:ann@contoso.example", "SMTP:"),
    ("<ann@contoso.example>;", "angle brackets"),
    ('Lee, "Ann" <mailto:ann@contoso.example>', "display name and angle brackets, mailto:"),
    ("'ann@contoso.example\u200b;", "apostrophe (U+0027), semicolon (U+003B), zero width space (U+200B)"),
]


@pytest.mark.parametrize(("exported", "off"), CLEANED, ids=[ascii(exported) for exported, _ in CLEANED])
def test_what_belongs_to_no_name_is_cleaned_off_and_named(tmp_path: Path, exported: str, off: str) -> None:
    path = tmp_path / "export.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("username", "password_hash"), (exported, BCRYPT)])
    export = read_export(path)
    assert [user.username for user in export.users] == ["ann@contoso.example"]
    (problem,) = export.problems
    assert (problem.line, problem.skipped) == (2, False)
    assert problem.cause == f"Taken off the sign-in name: {off}."
    # The endpoint's copy of the store has to find the account by the clean name.
    with closing(sqlite3.connect(export.to_sqlite(tmp_path / "users.sqlite3"))) as database:
        ((stored,),) = database.execute("SELECT username FROM legacy_users").fetchall()
    assert normalise(stored) == "ann@contoso.example"


IMPOSSIBLE = [
    ("an\0n@contoso.example", "cannot be seen: NUL (U+0000)"),
    ("ann\u00a0lee@contoso.example", "cannot be seen: no-break space (U+00A0)"),
    ("\u0645\u200c\u062e@contoso.example", "cannot be seen: zero width non-joiner (U+200C)"),
    ("ann\uff20contoso.example", "looks like another one: fullwidth commercial at (U+FF20)"),
    ("ann@contoso\u2024example", "looks like another one: one dot leader (U+2024)"),
    ("ann..lee@contoso.example", "a dot has nothing before it or behind it"),
    (".ann@contoso.example", "a dot has nothing before it or behind it"),
    ("ann.@contoso.example", "a dot has nothing before it or behind it"),
    ("ann@contoso..example", "a dot has nothing before it or behind it"),
    ("ann@.contoso.example", "a dot has nothing before it or behind it"),
    ("ann@contoso", "its domain has no dot"),
    ("ann@-contoso.example", "begins or ends with a hyphen"),
    ("ann@contoso_shop.example", "it holds low line (U+005F)"),
    ("ann lee@contoso.example", "it holds space (U+0020)"),
    ("ann(work)@contoso.example", "it holds left parenthesis (U+0028)"),
    ("ann@contoso.example; bo@contoso.example", "it holds more than one @"),
    ("@contoso.example", "something is missing before or behind the @"),
    ("ann@", "something is missing before or behind the @"),
    (f"{'a' * 65}@contoso.example", "one of its parts is too long"),
    (f"ann@{'c' * 64}.example", "one of its parts is too long"),
    (f"ann@{'contoso.' * 32}example", "one of its parts is too long"),
    ("a" * 65, "longer than 64 characters"),
    ("ann lee", "not space (U+0020)"),
    ("_ann", "begins with a letter or a digit"),
    ("ann%40contoso.example", "not percent sign (U+0025)"),
    ("'", "empty"),
]


@pytest.mark.parametrize(("exported", "cause"), IMPOSSIBLE, ids=[ascii(exported)[:40] for exported, _ in IMPOSSIBLE])
def test_names_that_nobody_could_sign_in_with_are_skipped_with_the_reason(
    tmp_path: Path, exported: str, cause: str
) -> None:
    path = tmp_path / "export.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("username", "status"), (exported, "active")])
    export = read_export(path)
    assert export.users == ()
    (problem,) = export.problems
    assert cause in problem.cause
    assert problem.skipped


@pytest.mark.parametrize("name", ["o'brien@x.example", "a.b+c@x.example", "zoë@bücher.example", "ada_7", "4711", "x-y"])
def test_names_that_people_have_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    export = read_export(write(tmp_path, f"username\n{name}\n"))
    assert ([user.username for user in export.users], export.problems) == ([name], ())


def test_names_that_are_the_same_once_they_are_clean_are_skipped(tmp_path: Path) -> None:
    export = read_export(write(tmp_path, "username\n'ann@x.example\nAnn@x.example\u200b\nbo@x.example\n"))
    assert [user.username for user in export.users] == ["bo@x.example"]
    assert [problem.line for problem in export.problems if "Several rows" in problem.cause] == [2, 3]


@pytest.mark.parametrize(
    ("said", "name", "found"),
    [
        ("", "ada_7", "userName"), ("username", "ada_7", "userName"), ("userName", "ada_7", "userName"),
        ("", "a@x.example", "emailAddress"), ("email", "a@x.example", "emailAddress"),
        ("emailAddress", "a@x.example", "emailAddress"), ("NULL", "ada_7", "userName"),
        ("email", "ada_7", None), ("username", "a@x.example", None), ("phone", "ada_7", None),
    ],
)  # fmt: skip
def test_a_name_is_an_address_or_a_user_name_and_the_column_may_say_which(
    tmp_path: Path, said: str, name: str, found: str | None
) -> None:
    export = read_export(write(tmp_path, f"username,sign_in_type\n{name},{said}\n"))
    assert [user.sign_in_type for user in export.users] == ([found] if found else [])
    assert len(export.problems) == (not found)


def test_an_address_for_mail_is_cleaned_or_left_out(tmp_path: Path) -> None:
    export = read_export(write(tmp_path, "username,mail\nada_7,<Ada@X.example>\nben-8,none\ncy_9,\n"))
    assert [user.mail for user in export.users] == ["ada@x.example", "", ""]
    assert [(problem.line, problem.result) for problem in export.problems] == [(3, "Created without it.")]


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ("", "no password hash"),
        ("NULL", "placeholder"),
        ("!Xq", "placeholder"),
        (BCRYPT, None),
        (f"{BCRYPT}   ", None),
        (BCRYPT[:40], "cut off"),
        ("$m=1024,t=1,p=1$abc$def", "like none that is known"),
        ("{ssha}KnD3YSAycBG7mnc+R8iIidgb7y9gc2E7iGkVpA==", None),
        ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", None),
        ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37m", "cut off"),
        ("{SSHA}KnD3YSAycBG7mnc+", "cut off"),
        ("AQAAAAEAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==", None),
        ("AQAAAAEAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+y", "cut off"),
        ("$pbkdf2-sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg$Pz0s4HPO.TyHnyTxIR8Lx.fEZojc3Lc26DQkf4ZOWCk", None),
        ("$pbkdf2-sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg$Pz0s4HPO", "cut off"),
        ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", None),
        ("$argon2id$v=19$m=65536,t=2,p=1$c29tZX", "cut off"),
        ("$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl", "cut off"),
        ("5f4dcc3b5aa765d61d8327deb882cf99", "bare digest"),
        ("{MD5}5f4dcc3b5aa765d61d8327deb882cf99", None),
    ],
)
def test_hashes_are_judged_by_their_shape_and_the_person_is_created(
    tmp_path: Path, stored: str, said: str | None
) -> None:
    text = f'username;password_hash\na@example.com;"{stored}"\n'
    export = read_export(write(tmp_path, text))
    assert len(export.users) == 1
    assert [said in problem.cause for problem in export.problems] == ([True] if said else [])


def test_no_remark_on_hashes_that_were_not_exported(tmp_path: Path) -> None:
    assert read_export(write(tmp_path, "username,status\na@example.com,active\n")).problems == ()


@pytest.mark.parametrize(
    ("text", "encoding", "happened", "next_step"),
    [
        ("", "utf-8", "is empty", "Export"),
        ("\n\n", "utf-8", "is empty", "Export"),
        ("username,status\n", "utf-8", "no rows", "again"),
        ("email,name\na@example.com,Zoë\n", "utf-8", "no column username. Its first line holds: email", "'username'"),
        ("username,username\na,b\n", "utf-8", "2 columns called username", "rename"),
        ("username,display_name\na@example.com,Ann\nb@example.com,Zoë\n", "cp1252", "line 3", "WINDOWS-1252"),
        ("username\na@example.com\n", "utf-16", "UTF-16", "CSV UTF-8"),
        ("username\na@example.com\n", "utf-16-le", "UTF-16", "CSV UTF-8"),
        ('username,display_name\na@example.com,"Ann\nb@example.com,Bo\n', "utf-8", "begins on line 2", "quotation"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_export_is_refused_with_what_to_do(
    tmp_path: Path, text: str, encoding: str, happened: str, next_step: str
) -> None:
    with pytest.raises(BadTable) as refused:
        read_export(write(tmp_path, text, encoding))
    assert happened in refused.value.happened
    assert next_step in refused.value.next_step


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match="There is no file"):
        read_export(tmp_path / "nothing.csv")
    with pytest.raises(BadTable, match="cannot be read"):
        read_export(tmp_path)


def test_the_table_holds_every_row_as_exported(tmp_path: Path) -> None:
    path = read_export(SAMPLE).to_sqlite(tmp_path / "store" / "legacy.sqlite3")
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT username, password_hash, status, must_change FROM legacy_users").fetchall()
    assert len(rows) == 2000
    assert rows[4][0::2] == ("eve@woodgrove.example", "active")
    assert rows[4][3] == 1
    assert any(username != normalise(username) for username, *_ in rows)
    assert not any(stored.endswith(" ") for _, stored, *_ in rows)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_the_table_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    export = read_export(write(tmp_path, f"username,password_hash\na@example.com,{BCRYPT}\n"))
    target = tmp_path / "legacy.sqlite3"
    target.mkdir()
    with pytest.raises(SettingsError, match="cannot be written"):
        export.to_sqlite(target)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["export.csv", "legacy.sqlite3"]
    target.rmdir()
    export.to_sqlite(target)
    export.to_sqlite(target)
    with closing(sqlite3.connect(target)) as database:
        assert database.execute("SELECT count(*) FROM legacy_users").fetchone() == (1,)


def test_an_export_without_hashes_makes_no_table(tmp_path: Path) -> None:
    export = read_export(write(tmp_path, "username\na@example.com\n"))
    with pytest.raises(BadTable, match="no column password_hash"):
        export.to_sqlite(tmp_path / "legacy.sqlite3")


def test_an_export_of_real_people_is_shown_without_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """H11: the line in the file says who is meant; one switch shows the names."""
    monkeypatch.setenv("JIT_KIT_HOME", str(tmp_path / "home"))
    export = read_export(write(tmp_path, "username,display_name\nmary at example.com,Mary\nbo@example.com,Bo\n"))
    assert "mary at example.com" in export._repr_html_(), "the rehearsal's people are invented"
    kit.choose("live", tenant="contoso.onmicrosoft.com", endpoint_host="jit.contoso.com")
    shown = export._repr_html_()
    assert "mary at" not in shown and "example.com" not in shown
    assert ">2<" in shown, "the line of the export"
    kit.choose("live", show_people=True)
    assert "mary at example.com" in export._repr_html_()
    (tmp_path / "home" / "profile.json").write_text("torn")
    assert "mary at" not in export._repr_html_()


def test_no_hash_reaches_anything_that_is_shown(tmp_path: Path) -> None:
    shifted = f"display_name,password_hash,username\nBerg, Ann,{BCRYPT},a@example.com\nBo,{BCRYPT[:45]},b@example.com\n"
    export = read_export(write(tmp_path, shifted))
    shown = repr(export) + export._repr_html_() + repr(export.users) + repr(export.problems) + repr(vars(export))
    assert BCRYPT[:20] not in shown
    for broken in (f"a@example.com,{BCRYPT}\n", f'username,password_hash\na@example.com,"{BCRYPT}\n'):
        with pytest.raises(BadTable) as refused:
            read_export(write(tmp_path, broken))
        assert BCRYPT[:20] not in str(refused.value)
