"""Hold the notebooks to their template: the cells every one has, their size, their voice, their links and pictures."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import cast
from xml.etree import ElementTree

import nbformat
import pytest
from sessions import Opening

from helpers import kit
from helpers.run_notebooks import NOTEBOOKS, in_order
from helpers.settings import CREDENTIALS
from jitkit import protocol

PATHS = in_order()
IMAGES = sorted((NOTEBOOKS / "images").glob("*.svg"))
OPEN = "s = await kit.open()"
ACT = re.compile(r"\.(ensure|apply|stop)\(|\.remove\((?!dry_run=True)|kit\.choose\(")
BULLETS = re.compile(r"^- .+$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")

CALL = re.compile(r"(?<![\w.])(?:s|kit)(?:\.[A-Za-z]\w*)+\(")

each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
each_lesson = pytest.mark.parametrize("path", PATHS[1:], ids=lambda path: path.stem)
each_image = pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def cells(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == kind]


def cell(path: Path, cell_id: str) -> nbformat.NotebookNode:
    return next(each for each in read(path).cells if each.id == cell_id)


def prose(source: str) -> str:
    """What is left of a markdown cell without code, tags and link targets."""
    without = re.sub(r"```.*?```|`[^`]*`|<[^>]+>|!\[[^\]]*\]\([^)]*\)", " ", source, flags=re.DOTALL)
    return re.sub(r"\]\([^)]*\)", "]", without)


def count(text: str) -> int:
    return len(re.findall(r"[\w'’-]+", text))


def tree(source: str) -> ast.AST:
    return compile(source, "cell", "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_notebooks_are_these_in_this_order() -> None:
    assert [path.stem for path in PATHS] == [
        "00-start-here",
        "01-extension-attribute",
        "02-app-registrations",
        "03-policies",
        "04-key-pair",
        "05-local-endpoint",
        "06-users",
        "07-sign-in",
        "08-migration-progress",
        "09-go-live",
        "90-troubleshooting",
        "99-clean-up",
    ]


@each_notebook
def test_nothing_that_a_run_leaves_is_kept(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    for each in notebook.cells:
        assert set(each.metadata) <= {"tags"}, each.id
        if each.cell_type == "code":
            assert each.outputs == [] and each.execution_count is None, each.id


@each_notebook
def test_cell_ids_are_readable_and_unique(path: Path) -> None:
    ids = [each.id for each in read(path).cells]
    assert len(ids) == len(set(ids))
    for each in ids:
        assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", each), each
        assert not re.fullmatch(r"[0-9a-f]{8}", each), f"{each} looks like a random id"


@each_notebook
def test_one_title_and_headings_without_a_gap(path: Path) -> None:
    levels = [
        len(hashes)
        for each in cells(path, "markdown")
        for hashes in re.findall(r"^(#+) ", re.sub(r"```.*?```", "", each.source, flags=re.DOTALL), re.MULTILINE)
    ]
    number = int(path.stem[:2])
    assert read(path).cells[0].source.startswith(f"# {number}. ")
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


@each_notebook
def test_the_length_is_that_of_a_lesson(path: Path) -> None:
    markdown, code = cells(path, "markdown"), cells(path, "code")
    text = [prose(re.sub(r"^\|.*$", "", each.source, flags=re.MULTILINE)) for each in markdown]
    lines = [len([line for line in each.source.splitlines() if line.strip()]) for each in code]
    assert 25 <= len(markdown) + len(code) <= 48
    assert 25 <= median(count(each) for each in text) <= 55
    assert median(lines) <= 3 and max(lines) <= 12
    assert max(len(line) for each in code for line in each.source.splitlines()) <= 108, "cut off in a narrow window"
    for each in markdown:
        assert count(prose(each.source)) <= 150, each.id


@each_notebook
def test_the_time_that_it_states_is_enough_to_read_it(path: Path) -> None:
    stated = re.search(r"^About (\d+) minutes", cell(path, "title").source, re.MULTILINE)
    words = sum(count(prose(each.source)) for each in cells(path, "markdown"))
    assert stated and words / 200 <= int(stated[1])


@each_notebook
def test_code_cells_call_and_never_define(path: Path) -> None:
    for each in cells(path, "code"):
        assert not re.search(r"^\s*[!%]", each.source, re.MULTILINE), each.id
        for node in ast.walk(tree(each.source)):
            assert not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda), each.id
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {"print", "exec", "eval"}, each.id
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = {getattr(node, "module", None), *(alias.name for alias in node.names)}
                assert not modules & {"sys", "os", "asyncio", "nest_asyncio"}, each.id


@each_lesson
def test_every_lesson_has_the_fixed_cells(path: Path) -> None:
    ids, number = [each.id for each in read(path).cells], path.stem[:2]
    fixed = ["title", "needs", "open", "needs-check", "checkpoint", "undo", "recap"]
    assert [each for each in ids if each in fixed] == fixed
    assert ids[:2] == fixed[:2] and ids[-1] == "recap"
    # Notebook 08 also reads files alone, which need nothing of a tenant.
    need = 'skipped if tables_folder else await s.require("08")' if number == "08" else f'await s.require("{number}")'
    assert cell(path, "needs-check").source.splitlines()[-1] == need
    assert f's.checkpoint("{number}")' in cell(path, "checkpoint").source


def test_every_session_is_opened_by_the_same_cell() -> None:
    sources = {cell(path, "open").source for path in PATHS}
    assert len(sources) == 1
    assert OPEN in sources.pop()


def texts() -> Iterator[tuple[str, str]]:
    """Everything that a reader may be told: by the notebooks, the pages, the tables of texts and the code's strings."""
    for path in PATHS:
        for each in cells(path, "markdown"):
            yield f"{path.stem} {each.id}", each.source
    root = NOTEBOOKS.parent
    for folder in ("helpers", "src", "notebooks"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".md", ".toml"):
                yield path.name, path.read_text(encoding="utf-8")
            elif path.suffix == ".py":
                yield from ((path.name, text) for text in strings(ast.parse(path.read_text(encoding="utf-8"))))
    yield "README.md", (root / "README.md").read_text(encoding="utf-8")


def strings(node: ast.AST) -> Iterator[str]:
    """The texts of a module; what an f-string fills in shows as 0."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(each.value) if isinstance(each, ast.Constant) else "0" for each in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for each in ast.iter_child_nodes(node):
            yield from strings(each)


def named_call(text: str, start: int) -> ast.Call:
    """Read the call that starts there, up to the first parenthesis that makes it whole."""
    for end in re.finditer(r"\)", text[start:]):
        try:
            call = ast.parse(text[start : start + end.end()].replace("…", "..."), mode="eval").body
        except SyntaxError:
            continue
        assert isinstance(call, ast.Call)
        return call
    raise AssertionError(f"not a whole call: {text[start : start + 80]}")


async def test_every_call_that_a_text_names_exists_and_takes_those_arguments(home: Path, opening: Opening) -> None:
    roots = {"s": await opening(home), "kit": kit}
    wrong: list[tuple[str, str, str]] = []
    named: set[str] = set()
    for where, text in texts():
        for found in CALL.finditer(text):
            call = named_call(text, found.start())
            called = ast.unparse(call.func)
            try:
                target: object = roots[called.partition(".")[0]]
                for name in called.split(".")[1:]:
                    target = getattr(target, name)
                given = [each for each in call.args if ast.unparse(each) != "..."]
                keywords = {each.arg: each.value for each in call.keywords if each.arg}
                inspect.signature(cast(Callable[..., object], target)).bind_partial(*given, **keywords)
            except (AttributeError, TypeError) as problem:
                wrong.append((where, ast.unparse(call), str(problem)))
            named.add(called)
    assert wrong == []
    assert {"s.policies.listener.add", "s.key.rotate", "s.users.mark", "kit.choose"} <= named


@each_notebook
def test_the_recap_mirrors_the_promise(path: Path) -> None:
    promised = BULLETS.findall(cell(path, "title").source)
    assert 2 <= len(promised) <= 4
    assert BULLETS.findall(cell(path, "recap").source) == promised


@pytest.mark.parametrize(("path", "following"), list(itertools.pairwise(PATHS)), ids=lambda path: path.stem)
def test_the_recap_leads_to_the_next_notebook(path: Path, following: Path) -> None:
    assert following.name in LINK.findall(cell(path, "recap").source)


@each_notebook
def test_every_change_is_read_back_before_the_next(path: Path) -> None:
    code = [each for each in cells(path, "code") if "raises-exception" not in each.metadata.get("tags", [])]
    acts = [bool(ACT.search(each.source)) for each in code]
    twice = [code[n + 1].id for n in range(len(acts) - 1) if acts[n] and acts[n + 1]]
    assert twice == [], "two changes in a row"


@each_notebook
def test_links_lead_somewhere(path: Path) -> None:
    for each in cells(path, "markdown"):
        for target in LINK.findall(each.source):
            assert target.startswith("https://") or (NOTEBOOKS / target.split("#")[0]).is_file(), (each.id, target)


@pytest.mark.parametrize("page", sorted(NOTEBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_pages_next_to_the_notebooks_are_found_and_lead_somewhere(page: Path) -> None:
    assert f"(notebooks/{page.name})" in (NOTEBOOKS.parent / "README.md").read_text(encoding="utf-8")
    assert any(page.name in LINK.findall(each.source) for path in PATHS for each in cells(path, "markdown"))
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (NOTEBOOKS / target.split("#")[0]).is_file(), target


@each_notebook
def test_pictures_are_told_in_words(path: Path) -> None:
    for each in cells(path, "markdown"):
        for alt, target in IMAGE.findall(each.source):
            assert (NOTEBOOKS / target).is_file(), (each.id, target)
            assert count(alt) >= 12, (each.id, "the alternative text says too little")
            assert "In words:\n\n1. " in each.source, (each.id, "the picture has no text form")


@each_notebook
def test_the_voice_is_calm_and_speaks_to_the_reader(path: Path) -> None:
    whole = " ".join(prose(each.source) for each in cells(path, "markdown"))
    judged = re.findall(r"\b(?:simply|just(?!-in-time)|easy|easily|obviously|of course)\b", whole, re.IGNORECASE)
    assert judged == []
    assert re.findall(r"\b(?:we|our|us|let's|I)\b", whole) == []
    assert re.search(r"\b[Yy]ou\b", whole)


@each_notebook
def test_callouts_are_of_two_kinds(path: Path) -> None:
    for each in cells(path, "markdown"):
        assert "[!" not in each.source and "<div" not in each.source, each.id
        for block in re.findall(r"(?:^>.*\n?)+", each.source, re.MULTILINE):
            assert re.match(r"> \*\*(Note|Live tenant)\*\* \S", block), each.id


@each_notebook
def test_folded_parts_say_what_is_inside(path: Path) -> None:
    for each in cells(path, "markdown"):
        assert each.source.count("<details>") == each.source.count("</details>"), each.id
        assert each.source.count("<details>") == len(re.findall(r"<summary>.+?</summary>\n\n", each.source)), each.id


def test_dated_facts_are_in_one_place() -> None:
    dated = [path.stem for path in PATHS if re.search(r"(November|December) 2026", path.read_text(encoding="utf-8"))]
    assert dated == ["00-start-here"]


def test_the_start_names_every_credential_role_and_permission() -> None:
    start = "\n".join(each.source for each in cells(PATHS[0], "markdown"))
    permissions = (*protocol.DELEGATED_PERMISSIONS, *protocol.READ_PERMISSIONS)
    for name in (*permissions, *protocol.ROLES, *(f'"{each}"' for each in CREDENTIALS)):
        assert name in start, name
    for path in PATHS[1:]:
        assert path.name in LINK.findall(start), path.name


def test_the_host_that_is_written_into_a_tenant_stays() -> None:
    """M5, M6: a tunnel with a name of its own is made before notebook 02; an external tenant has no subscription."""
    ids = [each.id for each in read(PATHS[0]).cells]
    assert ids.index("choose-live") < ids.index("public-host") < ids.index("open-session")
    words = cell(PATHS[0], "public-host").source
    for line in ("devtunnel user login", "devtunnel create jit-endpoint", "devtunnel host jit-endpoint"):
        assert line in words
    for path in PATHS:
        for each in cells(path, "markdown"):
            assert not re.search(r"devtunnel host +-|devtunnel host\n", each.source), (path.stem, each.id)
    assert "az login --tenant contoso.onmicrosoft.com --allow-no-subscriptions" in cell(PATHS[0], "credentials").source


@each_image
def test_images_have_words_inside_and_can_be_read(path: Path) -> None:
    root = ElementTree.parse(path).getroot()
    space = "{http://www.w3.org/2000/svg}"
    title, description = root.find(f"{space}title"), root.find(f"{space}desc")
    assert title is not None and title.text
    assert description is not None and count(description.text or "") >= 12
    background = root.find(f"{space}rect")
    assert background is not None and background.get("fill") in {"#fff", "#ffffff", "white"}
    scale = 700 / float(root.get("viewBox", "0 0 700 1").split()[2])
    sizes = [float(node.get("font-size", root.get("font-size", "0"))) * scale for node in root.iter(f"{space}text")]
    assert sizes and min(sizes) >= 12
    assert path.with_suffix(".mmd").is_file()


def test_the_readmes_screenshots_are_small_and_told_in_words() -> None:
    readme = (NOTEBOOKS.parent / "README.md").read_text(encoding="utf-8")
    shown = IMAGE.findall(readme)
    assert {target for _, target in shown} == {
        f"notebooks/images/{path.name}" for path in IMAGES[0].parent.glob("*.png")
    }
    for alt, target in shown:
        assert count(alt) >= 12
        assert (NOTEBOOKS.parent / target).stat().st_size < 300_000


@each_image
def test_images_are_shown_somewhere(path: Path) -> None:
    assert any(f"images/{path.name}" in notebook.read_text(encoding="utf-8") for notebook in PATHS)
