"""Imports go one way: between app and model, between the folders of model, and from the commands down; and
docs/architecture.md names what there is."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Each may import from those before it; "" is the top of model/, which is all that serving needs.
FOLDERS = ("", "data", "features", "training", "evaluation", "adaptation", "commands")
COMMANDS = {
    "generate", "train", "pack", "evaluate", "evaluate_text", "adapt", "align", "average", "mirror", "refine", "focus",
    "sheets",
}  # fmt: skip
SHARED = "commands"  # of the commands, which alone import it
SOURCES = {".py", ".js", ".css", ".html", ".svg", ".sh", ".tsv", ".webmanifest"}


def modules(package: str) -> dict[str, Path]:
    """Every module of a package by its dotted name, `__init__.py` by its folder's."""
    files = sorted((ROOT / package).rglob("*.py"))
    return {".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


MODEL = modules("model")


def imports(file: Path) -> set[str]:
    """The modules of model/ that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            # What is imported from a package may be a module of it or a name in it.
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODEL else str(node.module) for name in names}
    return found & MODEL.keys()


def folder(module: str) -> str:
    """The folder of a module of model/, as `FOLDERS` has it."""
    _, *inner = module.split(".")
    if not inner or (len(inner) == 1 and inner[0] in FOLDERS[1:-1]):
        return ".".join(inner)
    if len(inner) > 1:
        return inner[0]
    return "commands" if inner[0] in COMMANDS | {SHARED} else ""


def test_every_folder_and_command_is_known() -> None:
    assert {folder(module) for module in MODEL} == set(FOLDERS)
    run = {module for module, file in MODEL.items() if '__name__ == "__main__"' in file.read_text("utf-8")}
    assert run == {f"model.{name}" for name in COMMANDS}


@pytest.mark.parametrize("name", sorted(modules("app")))
def test_app_imports_only_the_top_of_model(name: str) -> None:
    assert {module for module in imports(modules("app")[name]) if folder(module)} == set()


@pytest.mark.parametrize("name", sorted(MODEL))
def test_no_module_imports_from_a_later_folder_or_a_command(name: str) -> None:
    later = FOLDERS[FOLDERS.index(folder(name)) + 1 :]
    found = imports(MODEL[name])
    assert {module for module in found if folder(module) in later} == set()
    assert found.isdisjoint(f"model.{command}" for command in COMMANDS)


def test_no_modules_import_each_other() -> None:
    list(TopologicalSorter({name: imports(file) for name, file in MODEL.items()}).static_order())


def test_pictures_from_the_shell_need_no_more_than_serving_does() -> None:
    assert {folder(module) for module in imports(MODEL["model.generate"])} == {""}


def documented() -> set[str]:
    """The paths in the trees of docs/architecture.md; those of folders end in a slash."""
    text = (ROOT / "docs/architecture.md").read_text("utf-8").partition("\n## The tree\n")[2]
    paths: set[str] = set()
    for tree in text.split("```text\n")[1:]:
        inside: list[str] = []
        for line in filter(None, tree.partition("```")[0].splitlines()):
            name = line.split()[0]
            depth = (len(line) - len(line.lstrip())) // 2
            inside[depth:] = [name]
            path = "".join(inside)
            assert path not in paths, f"{path} stands there twice"
            paths.add(path)
    return paths


def test_the_documented_trees_are_the_folders() -> None:
    named = documented()
    roots = {path for path in named if path.count("/") == 1 and path.endswith("/")}
    assert roots == {"app/", "benchmarks/", "model/", "scripts/", "static/", "templates/"}
    assert {path for path in named if not (ROOT / path).exists()} == set()
    # A folder that nothing is named in stands for its contents.
    whole = {path for path in named if path.endswith("/") and not any(p != path and p.startswith(path) for p in named)}
    files = {
        path.relative_to(ROOT).as_posix()
        for root in roots
        for path in (ROOT / root).rglob("*")
        if path.suffix in SOURCES and path.name != "__init__.py" and "__pycache__" not in path.parts
    }
    assert {file for file in files - named if not any(file.startswith(folder) for folder in whole)} == set()
