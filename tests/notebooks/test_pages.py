"""Notebooks as pages: they stand alone, and what is folded stays folded."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from helpers.run_notebooks import in_order, write_html


@pytest.mark.parametrize("path", in_order(), ids=lambda path: path.stem)
def test_a_page_stands_alone_and_hides_its_answers(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    page = tmp_path / "pages" / "page.html"
    write_html(notebook, page)
    html = page.read_text(encoding="utf-8")
    assert not re.search(r'src="(?!data:|")', html)
    folded = sum(cell.source.count("<details>") for cell in notebook.cells)
    assert len(re.findall(r"<details>\s*<summary>", html)) == folded
    assert not re.search(r"</summary>\s*</details>", html), "an answer lies open"
    assert "attachments" not in str(notebook), "the notebook itself is not changed"
