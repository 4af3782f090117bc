"""What the documents show is what the program does: their commands run as written, and their options are all there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from autocast.cli.main import app, load

ROOT = Path(__file__).resolve().parents[2]
PAGES = {file.stem: file for file in sorted((ROOT / "docs" / "commands").glob("*.md"))}
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FROM_NOTHING = ("README.md", "docs/getting-started.md")
"""Documents that make their own data; the others find a data set and the trained run outputs/rd/00."""
INSTALLED = ("README.md",)
"""Documents that use the installed commands, as a reader does; the others use forks."""

BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+?) -->\n)?"
    r"```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
SCRIPTS = ("train_autoencoder", "train_encoder_processor_decoder", "evaluate_encoder_processor_decoder")
TOYS = """
autocast() {
    case "$1 $2" in
        "data simulate") command autocast data simulate simulator.grid_shape=[16,16] simulator.n_frames=12 \
            simulator.burn_in=0.3 splits.train=4 splits.valid=2 splits.test=2 "${@:3}" ;;
        "ae "* | "epd "* | "train-eval "*) command autocast "$1" trainer.max_epochs=1 "${@:2}" ;;
        "eval "*) command autocast eval eval.n_members=2 eval.n_steps=2 eval.metrics=[vrmse] eval.video=false \
            "${@:2}" ;;
        *) command autocast "$@" ;;
    esac
}
train_autoencoder() { command train_autoencoder trainer.max_epochs=1 "$@"; }
train_encoder_processor_decoder() { command train_encoder_processor_decoder trainer.max_epochs=1 "$@"; }
"""
"""Shell functions of the commands' names: overrides that make each take seconds, before those of the document."""


@dataclass(frozen=True)
class Block:
    language: str
    title: str | None
    """The file that the block is the text of."""
    text: str
    reason: str | None
    """Why it is not run."""

    @property
    def is_script(self) -> bool:
        return self.language == "python" and self.title is None

    @property
    def commands(self) -> Iterator[list[str]]:
        """The words of every command line of this package."""
        if self.language != "bash":
            return
        for line in self.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] in ("autocast", *SCRIPTS):
                yield words


def blocks(document: Path) -> list[Block]:
    return [
        Block(match["language"], match["title"], match["text"], match["reason"])
        for match in BLOCK.finditer(document.read_text(encoding="utf-8"))
    ]


def steps(document: Path) -> list[Block]:
    """What to do, in order; Python blocks with nothing to run between them are one script."""
    found: list[Block] = []
    for block in blocks(document):
        if block.reason or not (block.title or block.language in ("bash", "python")):
            continue
        if found and block.is_script and found[-1].is_script:
            found.append(Block("python", None, found.pop().text + block.text, None))
        else:
            found.append(block)
    return found


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


RUN = [document for document in DOCUMENTS if steps(document)]


def execute(words: list[str], folder: Path, scripts: Path | None = None) -> str:
    """What it printed, where `PATH` leads first to the scripts, then to the installed commands."""
    repository = folder / "repository"
    places = [*([scripts] if scripts else []), Path(sys.executable).parent, os.environ["PATH"]]
    env = {**os.environ, "PATH": ":".join(map(str, places)), "OMP_NUM_THREADS": "1"}
    if repository.is_dir():
        env["PYTHONPATH"] = str(repository)
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{words[-1].removeprefix(TOYS)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def shell(text: str, folder: Path, scripts: Path | None = None) -> str:
    return execute(["bash", "-ec", TOYS + text], folder, scripts)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, forks: Path) -> Path:
    """A folder with a data set and a run of an autoencoder and an emulator, as the README makes them."""
    folder = tmp_path_factory.mktemp("trained")
    run = "--dataset reaction_diffusion --date rd --run-name 00"
    shell(f"autocast data simulate --dataset reaction_diffusion\nautocast ae {run}", folder, forks)
    shell(f"autocast epd {run} --autoencoder rd/00", folder, forks)
    return folder


@pytest.mark.e2e
@pytest.mark.parametrize("document", RUN, ids=name_of)
def test_documents_run_as_written(document: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    name = name_of(document)
    scripts = None if name in INSTALLED else request.getfixturevalue("forks")
    if name not in FROM_NOTHING:
        shutil.copytree(request.getfixturevalue("trained"), tmp_path, dirs_exist_ok=True)
    for step in steps(document):
        if step.title:
            write(step, tmp_path)
        elif step.language == "bash":
            shell(step.text, tmp_path, scripts)
        else:
            execute([sys.executable, "-c", step.text], tmp_path, scripts)


def write(block: Block, folder: Path) -> None:
    """A file of the document; one of this repository goes into a copy of it, which commands then use."""
    place = folder
    if str(block.title).startswith(("autocast/", "configs/")):
        place = folder / "repository"
        for part in ("autocast", "configs"):
            if not (place / part).is_dir():
                shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
    file = place / str(block.title)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.text, encoding="utf-8")


@pytest.mark.e2e
def test_the_contract_tests_pick_up_the_processor_of_the_documents(tmp_path: Path) -> None:
    page = ROOT / "docs" / "models.md"
    for step in steps(page):
        if str(step.title).startswith(("autocast/processors/", "configs/processor/")):
            write(step, tmp_path)
    shutil.copytree(ROOT / "tests" / "processors", tmp_path / "repository" / "tests" / "processors")
    (line,) = (block.text for block in blocks(page) if "-m pytest" in block.text)
    done = shell(f"cd repository && {line.strip()} -p no:cacheprovider", tmp_path)
    passed = re.search(r"(\d+) passed", done)
    assert passed
    assert int(passed[1]) >= 40
    assert "failed" not in done


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The click command that a command line starts with, and the words that are left."""
    command, rest = load(words[1]), words[2:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_command_line_can_be_parsed(document: Path) -> None:
    for block in blocks(document):
        for words in block.commands:
            if words[0] in SCRIPTS:
                assert all("=" in word for word in words[1:]), words
            else:
                command, rest = command_of(words)
                command.make_context(words[1], rest)  # raises what a user would be told


def options_of(command: Any) -> set[str]:
    named = {word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts)}
    return {word for word in named if word.startswith("-")} - {"--help"}


def command_of_page(page: str) -> Any:
    if page == "index":
        return typer.main.get_command(app)
    group, _, name = page.partition("-")
    return load(group).commands[name] if group in ("data", "config") else load(page)


def listed_options(page: Path) -> set[str]:
    """Options in the first column of the tables."""
    rows = [line.split(" | ")[0] for line in page.read_text().splitlines() if line.startswith("| `-")]
    return {option for row in rows for option in OPTION.findall(row)} - {"--help", "-h"}


@pytest.mark.parametrize("page", [page for page in PAGES if page != "console-scripts"])
def test_a_page_lists_the_options_of_its_command(page: str) -> None:
    options = options_of(command_of_page(page))
    assert listed_options(PAGES[page]) == options
    if page != "index":
        prose = CODE.sub("", PAGES[page].read_text())
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", prose)) <= options | {"--help"}


@pytest.mark.e2e
def test_the_console_scripts_have_the_options_of_their_page() -> None:
    script = Path(sys.executable).parent / SCRIPTS[0]
    shown = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
    options = {option for option in OPTION.findall(shown) if option not in ("-h", "--help", "-processor-decoder")}
    assert listed_options(PAGES["console-scripts"]) == options


def test_every_command_has_a_page() -> None:
    names = {"index", "console-scripts"}
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        command = load(name)
        names |= {f"{name}-{part}" for part in command.commands} if hasattr(command, "commands") else {name}
    assert set(PAGES) == names


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(CODE.sub("", document.read_text(encoding="utf-8"))):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_navigation() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())

    def files(entry: Any) -> set[str]:
        if isinstance(entry, str):
            return {entry}
        children = entry.values() if isinstance(entry, dict) else entry
        return {file for child in children for file in files(child)}

    assert files(config["nav"]) == {file.relative_to(ROOT / "docs").as_posix() for file in DOCUMENTS[1:]}
