"""The ways in: the read-me's first screen, the dev container, Binder's environment and the container file agree."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEV_CONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
CONTAINER = re.sub(r"\\\n\s*", "", (ROOT / "Containerfile").read_text(encoding="utf-8"))
CONDA: dict[str, Any] = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
INSTALL = "pip install -e . -c constraints.txt"


def instructions(word: str) -> list[str]:
    """The arguments of one kind of instruction in the container file, in order."""
    return re.findall(rf"^{word} (.+)$", CONTAINER, re.MULTILINE)


def test_the_first_command_is_on_the_first_screen() -> None:
    lines = README.splitlines()
    assert lines.index("```") < 20
    assert lines.index(INSTALL) < 45 and lines[lines.index(INSTALL) + 1] == "jitkit rehearse"


def test_every_door_installs_what_the_read_me_says() -> None:
    assert f"\n{INSTALL}\n" in README
    assert DEV_CONTAINER["postCreateCommand"] == INSTALL.replace("install", "install --user")
    assert any(each.endswith(INSTALL.replace("install", "install --no-cache-dir")) for each in instructions("RUN"))
    pip = next(each["pip"] for each in CONDA["dependencies"] if isinstance(each, dict))
    assert pip == ["-c constraints.txt", "-e ."]


def test_every_door_has_a_python_that_the_kit_is_tested_with() -> None:
    tested = {each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", each)}
    python = next(each for each in CONDA["dependencies"] if str(each).startswith("python="))
    images = (instructions("FROM")[0], DEV_CONTAINER["image"])
    offered = {python.partition("=")[2], *(re.findall(r"python:([\d.]+)", each)[0] for each in images)}
    assert offered <= tested
    assert f">={min(tested, key=lambda each: int(each.split('.')[1]))}" == PROJECT["requires-python"]
    assert f"Python {PROJECT['requires-python'].lstrip('>=')} or newer" in README


def test_nobody_works_as_root_in_a_container() -> None:
    assert DEV_CONTAINER["remoteUser"] != "root"
    before_install = CONTAINER[: CONTAINER.index("pip install")]
    assert re.findall(r"^USER (.+)$", before_install, re.MULTILINE)[-1] == instructions("USER")[-1] != "root"


def test_the_container_answers_where_the_read_me_says() -> None:
    (port,) = DEV_CONTAINER["forwardPorts"]
    assert instructions("EXPOSE") == [str(port)]
    assert f"--port={port}" in instructions("CMD")[0]
    assert f"-p 127.0.0.1:{port}:{port}" in README, "on this machine alone"
    (folder,) = instructions("WORKDIR")
    assert f"{folder}/.kit" in instructions("RUN")[0] and f":{folder}/.kit " in README


def test_a_container_holds_the_kit_and_none_of_its_state() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [each for each in lines if each and not each.startswith("#")]
    taken = {each[1:] for each in rules if each.startswith("!")}
    assert rules[0] == "*", "what is not named stays outside: .kit, reports, pages"
    assert {"helpers", "src", "notebooks", "sample_data", "constraints.txt", "pyproject.toml"} <= taken
    assert {PROJECT["readme"], *PROJECT["license-files"]} <= taken, "the build reads them"
    assert all((ROOT / each).exists() for each in taken)
