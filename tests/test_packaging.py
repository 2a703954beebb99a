"""What `make` installs and runs, and that the pins cover it."""

import ast
import importlib.metadata
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SERVING: list[str] = PYPROJECT["project"]["dependencies"]
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def closure(requirements: Iterable[str]) -> Iterator[Requirement]:
    """Every requirement that installing these meets on this Python and platform, theirs included."""
    todo = [(Requirement(text), "") for text in requirements]
    seen = set()
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        yield requirement
        for extra in {"", *requirement.extras}:
            key = (canonicalize_name(requirement.name), extra)
            if key not in seen:
                seen.add(key)
                needed = importlib.metadata.requires(requirement.name) or []
                todo += [(Requirement(text), extra) for text in needed]


def names(requirements: Iterable[str]) -> set[NormalizedName]:
    return {canonicalize_name(requirement.name) for requirement in closure(requirements)}


def test_every_package_that_an_install_brings_is_pinned() -> None:
    everything = [*SERVING, *EXTRAS["train"], *EXTRAS["eval"], *EXTRAS["test"]]
    pinned = pins()
    reached = list(closure(everything))
    unmet = {str(r) for r in reached if not r.specifier.contains(pinned.get(canonicalize_name(r.name), ""))}
    assert len(reached) > len(everything)
    assert unmet == set()
    # What comes with the benchmarks, with Ray and for locking is not installed: only its name can be looked up.
    elsewhere = [*EXTRAS["bench"], *EXTRAS["ray"], *EXTRAS["lock"]]
    assert {canonicalize_name(Requirement(text).name) for text in elsewhere} <= pinned.keys()


def test_the_image_installs_what_is_pinned_and_nothing_without_a_hash() -> None:
    lines = (ROOT / "requirements.txt").read_text().replace("\\\n", " ").splitlines()
    entries = [line.split(" --hash=sha256:") for line in lines if line.strip() and not line.startswith("#")]
    assert all(len(hashes) > 0 for _, *hashes in entries)
    assert all(re.fullmatch("[0-9a-f]{64}", digest.strip()) for _, *hashes in entries for digest in hashes)
    locked = {canonicalize_name(r.name): r for r in (Requirement(text.strip()) for text, *_ in entries)}
    pinned = pins()
    here = {name for name, r in locked.items() if not r.marker or r.marker.evaluate()}
    assert names(SERVING) <= here
    assert {name: str(locked[name].specifier) for name in here} == {name: f"=={pinned[name]}" for name in here}
    # A compiled package has a file a platform: Linux on two processors, and macOS on two where it is not Linux's alone.
    hashes = {canonicalize_name(Requirement(text.strip()).name): len(rest) for text, *rest in entries}
    least = {name: 2 if 'sys_platform == "linux"' in str(locked[name].marker) else 4 for name in names(SERVING)}
    compiled = {name for name in least if not pure(name)}
    assert {"torch", "numpy", "pillow", "sentencepiece"} <= compiled
    assert {name for name in compiled if hashes[name] < least[name]} == set()


def pure(name: str) -> bool:
    """Whether one file of this package, which is installed, serves every platform."""
    wheel = importlib.metadata.distribution(name).read_text("WHEEL") or ""
    return re.search(r"^Tag: .*-any$", wheel, re.MULTILINE) is not None


def test_the_installed_versions_are_the_pinned_ones() -> None:
    pinned = pins()
    installed = {name: importlib.metadata.version(name) for name in names([*SERVING, *EXTRAS["test"]])}
    # A local label (2.0+cpu) names a build of the same version.
    assert {name: version.partition("+")[0] for name, version in installed.items()} == {
        name: pinned[name] for name in installed
    }


def test_serving_installs_nothing_of_training_or_testing() -> None:
    later = [*EXTRAS["train"], *EXTRAS["eval"], *EXTRAS["test"]]
    extras = {canonicalize_name(Requirement(text).name) for text in later}
    assert names(SERVING) & extras == {"filelock"}  # which torch brings too


def test_every_package_that_the_code_imports_is_asked_for_by_name() -> None:
    # What comes only because another package needs it may stop coming.
    imported = set()
    for file in [*ROOT.glob("app/**/*.py"), *ROOT.glob("model/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module.partition(".")[0])
    packages = importlib.metadata.packages_distributions()
    everything = [*SERVING, *EXTRAS["train"], *EXTRAS["eval"], *EXTRAS["ray"]]
    asked = {canonicalize_name(Requirement(text).name) for text in everything}
    foreign = imported - sys.stdlib_module_names - {"app", "model"}
    assert "torch" in foreign
    # A package that is not installed here, such as Ray, goes by the name that it is imported by.
    unasked = {n for n in foreign if not asked & {canonicalize_name(p) for p in packages.get(n, [n])}}
    assert unasked == set()


def test_the_build_backend_is_the_pinned_one() -> None:
    # pip builds in an environment that constraints do not reach, so pyproject.toml repeats the pin.
    assert PYPROJECT["build-system"]["requires"] == [f"setuptools=={pins()['setuptools']}"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile beside a venv whose programs only write down how they were called."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    program = """#!/bin/sh
echo "$(basename $0) $*" >> calls
env | grep CAFETERIA_ >> settings
case "$*" in *"$FAIL"*) exit 1;; esac
"""
    for name in ("python", "ruff", "mypy", "hadolint"):
        path = tmp_path / ".venv" / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(program)
        path.chmod(0o755)
    return tmp_path


def make(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (checkout / "calls").unlink(missing_ok=True)
    environment = {**os.environ, "FAIL": "nothing fails", **environment}
    for name in [*environment]:  # this may run under `make test PORT=…`
        if name.startswith(("MAKE", "MFLAGS", "CAFETERIA_")) or name in ("PORT", "CHECKPOINT"):
            del environment[name]
    command = ["make", *arguments]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=60)


def calls(checkout: Path, containing: str) -> list[str]:
    lines = (checkout / "calls").read_text().splitlines()
    return [line for line in lines if containing in line]


def test_make_serve_installs_once_and_again_when_the_pins_change(checkout: Path) -> None:
    assert make(checkout, "serve").returncode == 0
    assert calls(checkout, "pip") == [
        "python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt ."
    ]
    assert calls(checkout, "app") == ["python -m app"]

    make(checkout, "serve")
    assert calls(checkout, "pip") == []
    assert calls(checkout, "app") == ["python -m app"]

    later = (checkout / ".venv" / ".serve-installed").stat().st_mtime + 10
    os.utime(checkout / "constraints.txt", (later, later))
    make(checkout, "serve")
    assert len(calls(checkout, "pip")) == 1


def test_an_install_that_failed_is_tried_again(checkout: Path) -> None:
    assert make(checkout, "serve", FAIL="install").returncode != 0
    assert calls(checkout, "app") == []
    assert make(checkout, "serve").returncode == 0
    assert len(calls(checkout, "pip")) == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), set()),
        (("PORT=9000",), {"CAFETERIA_PORT=9000"}),
        (
            ("HOST=0.0.0.0", "PORT=80", "CHECKPOINT=runs/my own"),
            {"CAFETERIA_HOST=0.0.0.0", "CAFETERIA_PORT=80", "CAFETERIA_CHECKPOINT=runs/my own"},
        ),
    ],
)
def test_make_serve_hands_its_settings_on(checkout: Path, given: tuple[str, ...], expected: set[str]) -> None:
    # Some shells export HOST as the machine's name: nothing to listen on.
    make(checkout, "serve", *given, HOST="somebodys-laptop")
    assert set((checkout / "settings").read_text().splitlines()) == expected


def test_make_test_installs_the_extras_lints_and_then_tests(checkout: Path) -> None:
    assert make(checkout, "test").returncode == 0
    steps = [line for line in calls(checkout, "") if not line.startswith("python -c")]
    assert [line.split(" ")[0] for line in steps] == ["python", "ruff", "mypy", "hadolint", "python"]
    assert steps[0].endswith("--constraint constraints.txt .[train,eval,test]")
    assert steps[-1].startswith("python -m pytest")


@pytest.mark.parametrize("failing", ["check .", "Dockerfile", "pytest"])
def test_make_test_fails_with_any_of_its_steps(checkout: Path, failing: str) -> None:
    assert make(checkout, "test", FAIL=failing).returncode != 0


@pytest.mark.parametrize("there", [False, True])
def test_make_test_says_plainly_when_there_is_no_chromium(checkout: Path, there: bool) -> None:
    programs = checkout / "programs"
    programs.mkdir()
    for name in ("make", "sh", "touch", "basename", "env", "grep", *(["chromium"] if there else [])):
        (programs / name).symlink_to(shutil.which(name) or shutil.which("true") or "")
    (programs / "python3").symlink_to(checkout / ".venv" / "bin" / "python")
    done = make(checkout, "test", PATH=str(programs))
    assert done.returncode == 0, done.stderr
    assert ("No Chromium" in done.stdout) is not there


def test_a_python_that_is_too_old_is_told_so(checkout: Path) -> None:
    old = checkout / "old-python"
    pretend = "import sys; sys.version_info = (3, 8, 1); sys.version = '3.8.1 (main)'; exec(sys.argv[1])"
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{pretend}" "$2"\n')
    old.chmod(0o755)
    done = make(checkout, "serve", f"PYTHON={old}")
    assert done.returncode != 0
    assert "Python 3.11 or later is needed; this is 3.8.1." in done.stderr
    assert not (checkout / "calls").exists()


def test_make_alone_lists_the_targets(checkout: Path) -> None:
    output = make(checkout).stdout
    assert all(f"make {target} " in output for target in ("serve", "test", "lint", "constraints", "clean"))


def test_ci_can_run_its_script() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    subprocess.run(["bash", "-n", script], check=True)
