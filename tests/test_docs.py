"""Every code block of the README and of docs/ runs, in page order, in a copy of the project.

The copy has the example table cut to 800 rows, so that most blocks can run as they are written.
The language of a block decides how it is run:

- `bash`: commands, run by bash.
- `console`: a transcript. The line after `$ ` is run; every other line must be in its output, where
  `…` stands for any text.
- `python`: a program of its own.
- `yaml`: a file, named in its first line (`# space.yaml`). A python block whose first line names a
  file is one, too.
- `diff`: a change to a file of the project; its lines must fit exactly one place.
- `text`, `mermaid`: not run.

`STAND_INS` has cheaper commands for those that take minutes, need a network or never end.
"""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest

from pipelines import entry_points
from tests import prefork

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
)
COPIED = (
    "MLproject",
    "Makefile",
    "pyproject.toml",
    "python_env.yaml",
    "requirements.txt",
    "constraints.txt",
    "hpo",
    "pipelines",
    "serving",
    "warmstart",
    "benchmarks",
    "tests",
)
ROWS = 800
SECONDS = 240  # for one block, on a busy machine
NOTHING_TO_RUN = ("text", "mermaid")
CHANGES_THE_PROJECT = "docs/extending.md"

# A pattern for a whole command -> (what runs instead, why). `PORT` becomes a free port.
STAND_INS: Mapping[str, tuple[str, str]] = {
    r"make demo": ("true", "it has already run: every page starts with its study"),
    r"make test": ("python -m pytest --collect-only -q tests/hpo", "the suite would run itself"),
    r"PIP_EXTRA_INDEX_URL=\S+ make env": (
        "make --dry-run env",
        "installs gigabytes from a network",
    ),
    r"mlflow run .* --env-manager uv .*": (
        'python -c "from mlflow.utils.environment import _PythonEnv as E; '
        "E.from_yaml('python_env.yaml')\"",
        "builds an environment of gigabytes from a network; other blocks run the same command",
    ),
    r"mlflow ui (.*)": (
        r"mlflow ui \1 --port PORT --workers 1 & "
        r"until curl -sf 127.0.0.1:PORT/health; do sleep 0.5; done; kill $!",
        "serves until it is stopped",
    ),
    r"(.*model=all .*)-P trials=\d+": (
        r"\1-P trials=5 -P max_budget=5",
        "trains networks; five percent of a training of each family is enough",
    ),
    r"(.*) --budget=.*": (r"\1 --budget=2s", "searches until its budget is spent"),
    r"(.* --timeout=)\d+(.*)": (r"\g<1>10\2", "searches until its time is over"),
    r"python -m benchmarks ([\w-]+).*": (
        r"python -m benchmarks \1 --help",
        "takes minutes to hours",
    ),
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `line` is the number of its first line of content."""

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The path of the file that the block is, if its first line names one."""
        found = re.match(r"# ([\w./-]+\.(?:yaml|py))$", self.text.split("\n", 1)[0])
        return found.group(1) if found and self.language in ("yaml", "python") else None


def blocks(page: str) -> Iterator[Block]:
    fence = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in fence.finditer(text):
        yield Block(page, text.count("\n", 0, found.start(2)) + 1, found[1] or "bash", found[2])


ALL = [block for page in PAGES for block in blocks(page)]
STARTS_RAY = re.compile(r"^(?:from|import) (ray)\b", re.MULTILINE)
MARKED = [
    pytest.param(block, marks=pytest.mark.slow) if STARTS_RAY.search(block.text) else block
    for block in ALL
]


@dataclass(frozen=True)
class Copy:
    """A copy of the project with a study, and the values of the pages' names in capitals."""

    folder: Path
    names: Mapping[str, str]
    shims: tuple[Path, ...] = ()  # folders of commands that go before all others

    def run(self, *command: str) -> str:
        """Run a command and return its output; its exit code must be 0."""
        code, output = self.result(*command)
        assert code == 0, output
        return output

    def result(self, *command: str) -> tuple[int, str]:
        """Run a command, stop what it leaves running, and return exit code and output."""
        log = self.folder / "output.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
            try:
                process.wait(SECONDS)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return process.returncode, log.read_text(encoding="utf-8")

    @property
    def environment(self) -> Mapping[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "MAKE"))}
        places = (
            *self.shims,
            self.folder / "bin",
            self.folder / ".venv/bin",
            kept["PATH"],
        )
        return kept | {
            "HPO_CACHE_DIR": str(self.folder / "cache"),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its processes import MLflow again
            "PATH": os.pathsep.join(map(str, places)),
            "PYTHONPATH": str(self.folder),
        }

    def filled(self, text: str) -> str:
        """The text with the values of its names in capitals, and with a free port."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        for name, value in self.names.items():
            text = re.sub(rf"\b{name}\b", value, text)
        return re.sub(r"\bPORT\b|\b5100\b", port, text)


def make_copy(folder: Path) -> Copy:
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "examples/project", folder / "examples/project")
    table = pd.read_csv(ROOT / "examples/adult.csv.gz", dtype=str, keep_default_na=False)
    table.sample(ROWS, random_state=0).to_csv(folder / "examples/adult.csv.gz", index=False)
    # An environment for `make`: the one that runs this test.
    (folder / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        (folder / ".venv" / path.name).symlink_to(path)
    (folder / ".venv" / ".installed").unlink(missing_ok=True)
    (folder / ".venv" / ".installed").touch()
    # The console command as an installation makes it, for the copy.
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "scripts"
    ]
    (folder / "bin").mkdir()
    for name, entry in scripts.items():
        module, _, function = entry.partition(":")
        script = folder / "bin" / name
        script.write_text(f"#!{sys.executable}\nfrom {module} import {function}\n{function}()\n")
        script.chmod(0o755)
    return Copy(folder, {})


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The copy in which `make demo` has run; all pages but docs/extending.md share it.

    Commands run in forks of a process that has imported the project.
    """
    copy = make_copy(tmp_path_factory.mktemp("docs"))
    shims = prefork.shims(str(copy.folder))
    programs = copy.folder / ".venv" / "bin"
    programs.unlink()
    programs.mkdir()
    for path in (*shims.iterdir(), *(Path(sys.prefix) / "bin").iterdir()):
        if path.name != "socket" and not (programs / path.name).exists():
            (programs / path.name).symlink_to(path)
    study = re.search(r"study (\w{32}):", copy.run("make", "demo"))
    assert study
    trial = re.search(
        r"trial=(\w{32})", copy.run("mlflow-warmstart", "report", f"--study={study[1]}")
    )
    assert trial
    copy = Copy(copy.folder, {"STUDY_ID": study[1], "TRIAL_ID": trial[1]})
    for block in ALL:
        if block.file and block.page != CHANGES_THE_PROJECT:
            (copy.folder / block.file).write_text(block.text, encoding="utf-8")
    return replace(copy, shims=(shims,))


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The copy that docs/extending.md changes."""
    return make_copy(tmp_path_factory.mktemp("extended"))


@pytest.mark.parametrize("block", MARKED, ids=lambda block: block.name)
def test_block_runs(block: Block, request: pytest.FixtureRequest) -> None:
    if block.language in NOTHING_TO_RUN:
        return
    copy: Copy = request.getfixturevalue("changed" if block.page == CHANGES_THE_PROJECT else "demo")
    match block.language:
        case "bash":
            run_commands(copy, block.text)
        case "console":
            run_transcript(copy, block.text)
        case "yaml" | "python" if block.file:
            (copy.folder / block.file).write_text(block.text, encoding="utf-8")
        case "python":
            skip_without(*STARTS_RAY.findall(block.text))
            program = copy.folder / f"{Path(block.page).stem}-{block.line}.py"
            # Line numbers of a traceback are those of the page.
            program.write_text("\n" * (block.line - 1) + copy.filled(block.text), encoding="utf-8")
            copy.run("python", str(program))
        case "diff":
            change(copy.folder, block.text)
        case _:
            pytest.fail(
                f"{block.name}: unknown language {block.language!r}; see the top of {__file__}"
            )


def skip_without(*extras: str) -> None:
    """Skip a block that needs an extra which the tests do not install."""
    for name in extras:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs pip install 'mlflow-warmstart[{name}]'")


def run_commands(copy: Copy, text: str) -> None:
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    script = "\n".join(stand_in(line) for line in lines)
    if "curl" in script and not shutil.which("curl"):
        pytest.skip("needs curl")
    output = copy.run("bash", "-e", "-c", copy.filled(script))
    for line in lines:
        if line.startswith("python -m benchmarks "):  # at least its options exist
            assert set(re.findall(r"--[\w-]+", line)) <= set(re.findall(r"--[\w-]+", output)), line


def stand_in(line: str) -> str:
    for pattern, (command, _) in STAND_INS.items():
        if re.fullmatch(pattern, line.partition(" #")[0].strip()):
            return re.sub(pattern, command, line.partition(" #")[0].strip())
    return line


def run_transcript(copy: Copy, text: str) -> None:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *expected = copy.filled(part).strip().splitlines()
        _, output = copy.result("bash", "-c", command)
        for line in expected:
            pattern = ".*".join(re.escape(piece) for piece in line.split("…"))
            assert re.search(pattern, output), f"{line!r} is not in\n{output}"


def change(folder: Path, text: str) -> None:
    """Apply a diff without line numbers: its lines determine the place."""
    first, *lines = text.splitlines()
    path = folder / first.removeprefix("--- ")
    before = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
    after = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
    content = path.read_text(encoding="utf-8")
    assert content.count(before) == 1, f"{first} has {content.count(before)} places for\n{text}"
    path.write_text(content.replace(before, after), encoding="utf-8")


def test_every_stand_in_is_needed() -> None:
    lines = [
        line.partition(" #")[0].strip()
        for block in ALL
        for line in re.sub(r"\\\n\s*", "", block.text).splitlines()
    ]
    unused = [p for p in STAND_INS if not any(re.fullmatch(p, line) for line in lines)]
    assert not unused


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", prose):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("name", entry_points.NAMES)
def test_parameters_are_documented(name: str) -> None:
    """docs/parameters.md lists the parameters of each entry point with their defaults, in order."""
    text = (ROOT / "docs/parameters.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \| (?:`(.+?)`|required) \|", section, re.MULTILINE)
    parameters = entry_points.parameters(entry_points.load(name))
    assert documented == [(parameter.name, parameter.default or "") for parameter in parameters]


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    made = {block.file for block in ALL}
    path = r"`((?:hpo|pipelines|serving|warmstart|benchmarks|tests)/[\w/-]+\.(?:py|yaml))`"
    missing = [name for name in re.findall(path, text) if not (ROOT / name).exists()]
    assert not set(missing) - made


def test_tests_that_are_named_exist() -> None:
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 15
    for path, function in named:
        assert f"def {function}(" in (ROOT / path).read_text(encoding="utf-8"), function


@pytest.mark.parametrize("package", ["pipelines", "hpo"])
def test_architecture_names_the_modules_of_each_room(package: str) -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    section = text.partition(f"\n### `{package}`\n")[2].partition("\n##")[0]
    for rooms, modules in re.findall(r"^\| (root|`[^|]+) \| ([^|]+)", section, re.MULTILINE):
        folders = [ROOT / package / room for room in re.findall(r"`(\w+)`", rooms)]
        folders = folders or [ROOT / package]
        for module in re.findall(r"`(\w+)/?`", modules):
            places = [folder / name for folder in folders for name in (module, f"{module}.py")]
            assert any(place.exists() for place in places), f"{rooms}: {module}"


def test_changelog_names_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "version"
    ]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
