"""What keeps the code a house: imports that point downwards, files of a readable length, hints on public functions."""

import ast
import configparser
import os
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.processes import count

REPOSITORY = Path(__file__).resolve().parents[1]
# From top to bottom; what stands on one floor does not import each other.
FLOORS = [
    {"app.__main__"},
    {"app.bench"},
    {"app.cli"},
    {"app.plots"},
    {"app.serving"},
    {"app.formats", "app.comparison"},
    {"app.probe", "app.export", "app.imports", "app.training", "app.scoring"},
    {"app.translation"},
    {"app.retrieval"},
    {"app.runs"},
    {"app.presets"},
    {"models", "data"},
]
# Leaves that any room of app may import.
LEAVES = {"app", "app.terminal", "app.figure"}
# A training scores its validation text; the probe trains its small models with the training's optimiser.
ALLOWED = {("app.training", "app.scoring"), ("app.probe", "app.training")}
MOST_LINES = 450


def modules(package: str) -> Iterator[tuple[str, Path, ast.Module]]:
    """The name, file and syntax tree of each module."""
    for path in sorted((REPOSITORY / package).rglob("*.py")):
        name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        yield name, path, ast.parse(path.read_text(encoding="utf-8"))


def room(module: str) -> str:
    """The room of a module: a package or file of app, or one of the other two packages."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "app" else parts[0]


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The lines and names of what a module imports of this project, inside functions, too."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" if node.module == "app" else node.module for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from ((node.lineno, name) for name in names if name.split(".")[0] in ("app", "models", "data"))


def floor(room: str) -> int:
    """The number of a room's floor, from the top."""
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def test_every_room_has_a_floor():
    rooms = {room(name) for name, *_ in modules("app")} - {"app.__init__"} - LEAVES
    assert rooms <= set().union(*FLOORS), rooms - set().union(*FLOORS)


def test_imports_point_downwards():
    wrong = []
    for package in ("app", "models", "data"):
        for name, path, tree in modules(package):
            here = room(name)
            for line, target in imports(tree):
                there = room(target)
                if there in (here, *LEAVES) or target.startswith("app.__") or (here, there) in ALLOWED:
                    continue
                if here in LEAVES or floor(here) >= floor(there):
                    wrong.append(f"{path}:{line}: {here} imports {there}")
    assert not wrong, "\n".join(wrong)


def test_no_file_is_too_long():
    sizes = {
        path: path.read_text(encoding="utf-8").count("\n")
        for p in ("app", "models", "data", "tests")
        for _, path, _ in modules(p)
    }
    assert not {str(path): size for path, size in sizes.items() if size > MOST_LINES}


def missing_hints(package: str) -> Iterator[str]:
    """Arguments and results of public functions without a hint."""
    for name, _, tree in modules(package):
        yield from (f"{name}.{one}" for one in _bare(tree))


def _bare(tree: ast.AST) -> Iterator[str]:
    for node in _public_functions(tree):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        bare = [one.arg for one in arguments if one.arg not in ("self", "cls") and not one.annotation]
        if not node.returns and node.name != "__init__":
            bare.append("result")
        yield from (f"{node.name}: {one}" for one in bare)


def _public_functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Public functions of a module and public methods of its public classes, not what is inside of functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _public_functions(node)
        elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
            yield node


def test_public_functions_are_hinted():
    assert not [one for package in ("app", "data", "models") for one in missing_hints(package)]


def test_the_example_of_a_memory_could_be_a_file_of_this_house():
    page = (REPOSITORY / "docs" / "memory.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(from dataclasses.*?)```", page, re.DOTALL)[1]
    assert "@memory(" in example and list(_bare(ast.parse(example))) == []


def declared() -> set[str]:
    """The packages that setup.cfg and the lists of separate environments name, in lower case with hyphens."""
    settings = configparser.ConfigParser()
    settings.read(REPOSITORY / "setup.cfg")
    lists = [settings["options"]["install_requires"], *settings["options.extras_require"].values()]
    lists += [path.read_text() for path in (*REPOSITORY.glob("tests/*.txt"), REPOSITORY / "app/bench/peers.txt")]
    # JoeyNMT and EOLE are installed by the Makefile, without what they declare.
    return {
        _normal(re.match(r"[\w.-]+", line)[0]) for one in lists for line in one.split("\n") if line[:1].isalnum()
    } | {"joeynmt", "eole"}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_imported_package_is_declared():
    """What happens to be installed with another package is missing on the machine where that one is not."""
    files = [
        path for one in ("app", "data", "models", "notebooks", "tests") for path in (REPOSITORY / one).rglob("*.py")
    ]
    own = {path.stem for path in files} | {"app", "data", "models", "tests"}
    providers, known, wrong = packages_distributions(), declared(), set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for module in {name.partition(".")[0] for name in names} - own - sys.stdlib_module_names:
                if known.isdisjoint(map(_normal, providers.get(module, [module]))):
                    wrong.add(f"{path.relative_to(REPOSITORY)} imports {module}")
    assert not wrong, "\n".join(sorted(wrong))


def test_tests_have_no_more_processes_than_memory_allows(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    cores = len(os.sched_getaffinity(0))
    write("proc/meminfo", f"MemTotal: 900 kB\nMemAvailable: {4 * 10**6 * (cores + 5)} kB\n")
    assert count(tmp_path) == cores + 1
    write("sys/fs/cgroup/memory.max", "max\n")
    assert count(tmp_path) == cores + 1
    write("sys/fs/cgroup/memory.max", f"{10 * 10**9}\n")
    write("sys/fs/cgroup/memory.current", f"{9 * 10**9}\n")
    assert count(tmp_path) == 1
    write("sys/fs/cgroup/memory.stat", f"anon 5\ninactive_file {8 * 10**9}\n")
    assert count(tmp_path) == 2
    write("proc/meminfo", "MemAvailable: 5000000 kB\n")
    assert count(tmp_path) == 1
