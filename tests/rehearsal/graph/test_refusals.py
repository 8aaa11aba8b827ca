"""The catalogue of the sentences with which Graph refuses."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from jitkit.rehearsal import graph

HERE = Path(graph.__file__).parent


def test_every_sentence_has_one_name_by_which_the_code_uses_it() -> None:
    catalogue = tomllib.loads((HERE / "refusals.toml").read_text("utf-8"))
    names = [name for codes in catalogue.values() for sentences in codes.values() for name in sentences]
    assert len(names) == len(set(names))
    sources = "".join(path.read_text("utf-8") for path in HERE.glob("*.py"))
    assert set(re.findall(r'refusal\(\s*"([\w-]+)"', sources)) <= set(names)
    assert set(names) <= set(re.findall(r'"([\w-]+)"', sources))
