"""What surrounds the code: links, pictures and command lines of the documentation, pins, and what the package says."""

from __future__ import annotations

import functools
import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

from fieldlab.apps.main import COMMANDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
HOME = "https://github.com/fieldlab/fieldlab"
RAW = "https://raw.githubusercontent.com/fieldlab/fieldlab/main/"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def links(text: str) -> list[str]:
    text = without_code(text)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get: lower case, words joined by dashes."""
    headings = re.findall(r"^#+ +(.*)$", without_code(page.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def in_the_repository(link: str) -> str | None:
    """The path within the repository that an absolute link to it names, None for links to elsewhere."""
    for start in (RAW, f"{HOME}/blob/main/", f"{HOME}/tree/main/"):
        if link.startswith(start):
            return link.removeprefix(start)
    return None


@pages
def test_links_lead_somewhere(page):
    for link in links(page.read_text()):
        inside = in_the_repository(link)
        if inside is None and re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = (inside or link).partition("#")
        target = (ROOT if inside else page.parent) / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_the_readme_reads_well_on_a_package_index():
    relative = [link for link in links((ROOT / "README.md").read_text()) if not re.match(r"https:|#", link)]
    assert relative == []


def test_every_picture_is_shown():
    shown = {Path(link).name for page in PAGES for link in links(page.read_text())}
    assert {path.name for path in (ROOT / "docs" / "images").iterdir()} <= shown


# ---- command lines


@functools.cache
def options_of(command: str, *kind: str) -> set[str]:
    """Long options of a command, or of one kind of it, as its help shows them."""
    import contextlib
    import io

    import tyro

    module = importlib.import_module(f"fieldlab.apps.{COMMANDS[command].module}")
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        tyro.cli(getattr(module, COMMANDS[command].options), prog=command, args=[*kind, "--help"])
    return set(re.findall(r"--[a-z0-9][a-z0-9.\-]*", said.getvalue()))


def command_lines(text: str) -> list[list[str]]:
    """The words of every ``fieldlab ...`` line in blocks of shell code; what follows | ; & or > is left out."""
    blocks = re.findall(r"```(?:sh|bash|console)?\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        words = re.split(r"\s#|[|;&>]", line.strip().removeprefix("$ "))[0]
        if words.startswith("fieldlab "):
            found.append(shlex.split(words)[1:])
    return found


def wrong(words: list[str]) -> list[str]:
    """What a command line names that does not exist."""
    if words[0].startswith(("-", "<")) or words[0] == "COMMAND":
        return []
    if words[0] not in COMMANDS:
        return [words[0]]
    given = [word.partition("=")[0] for word in words[1:] if re.match(r"--[a-z]", word)]
    kind = words[1:2] if words[0] == "fit" else []
    return [option for option in given if option not in options_of(words[0], *kind) | {"--help", "--debug"}]


@pages
def test_command_lines_name_what_exists(page):
    for words in command_lines(page.read_text()):
        assert wrong(words) == [], "fieldlab " + " ".join(words)


def test_examples_in_the_help_name_what_exists():
    for command in COMMANDS.values():
        for example in command.examples:
            assert wrong(shlex.split(example)[1:]) == [], example


def test_command_lines_that_name_what_does_not_exist_are_seen():
    text = "```sh\nfieldlab train toys --speed 3   # --no option\nfieldlab trian\nfieldlab train toys --steps 2\n```"
    assert [wrong(words) for words in command_lines(text)] == [["--speed"], ["trian"], []]


# ---- package


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def name_of(requirement: str) -> str:
    return re.match(r"[\w\-]+", requirement).group().lower().replace("_", "-")


def test_every_direct_dependency_is_pinned_for_every_python():
    table = project()
    extras = [line for lines in table["project"]["optional-dependencies"].values() for line in lines]
    wanted = {
        name_of(line) for line in [*table["build-system"]["requires"], *table["project"]["dependencies"], *extras]
    }
    pins = re.findall(r"^([\w\-]+)==([\w.]+)(?:; (.*))?$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert wanted - {name_of(name) for name, _, _ in pins} == set()
    markers: dict[str, list[str]] = {}
    for name, _, marker in pins:
        markers.setdefault(name_of(name), []).append(marker)
    twice = ["python_version < '3.11'", "python_version >= '3.11'"]
    assert {name: found for name, found in markers.items() if found not in ([""], twice)} == {"tomli": twice[:1]}


def test_what_the_package_says_of_itself():
    said = project()["project"]
    assert said["readme"] == "README.md"
    assert all(url.startswith(HOME) for url in said["urls"].values())
    for minor in range(10, 14):
        assert f"Programming Language :: Python :: 3.{minor}" in said["classifiers"]
    assert (ROOT / "fieldlab" / "py.typed").is_file()
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{said['version']}]" in changes
    import fieldlab

    assert fieldlab.__version__ == said["version"]
