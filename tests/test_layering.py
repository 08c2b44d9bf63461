"""Who may reach whom, directly or through others; no circles; and what comes up without torch."""

import ast
import fnmatch
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = tuple(
    name
    for name in ("nunif", "scene", "inpaint", "matting", "character", "layers")
    if (ROOT / name).is_dir()
)
Graph = dict[str, set[str]]


@dataclass(frozen=True)
class Rule:
    """Modules of these names reach none of those, unless they are on the way of `through`. Names
    are patterns."""

    who: str
    never: tuple[str, ...]
    but: tuple[str, ...] = ()


TASKS = ("inpaint.*", "matting.*", "character.*")
TRAINING = (
    "nunif.training.*",
    "*.train",
    "*.trainer",
    "*.task",
    "*.dataset",
    "*.generate*",
    "*.options_train",
)
RULES = (
    Rule("nunif.*", ("scene.*", *TASKS, "layers.*")),
    Rule("scene.*", (*TASKS, "layers.*")),
    Rule("inpaint.*", ("matting.*", "character.*", "layers.*")),
    Rule("matting.*", ("inpaint.*", "character.*", "layers.*")),
    Rule("character.*", ("inpaint.*", "matting.*", "layers.*")),
    Rule("*.runtime.*", TRAINING),
    Rule("*.models.*", TRAINING),
    Rule("*.export", TRAINING),
)
# layers puts the tasks together, by what they have for use: these are the only modules of theirs
# that it imports itself
DOORS = ("inpaint.runtime.*", "matting.runtime.*", "character.runtime.*")
# the packages themselves, which are on the way to each door
HOUSES = {"inpaint", "matting", "character"}


def matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(name, p) or fnmatch.fnmatch(f"{name}.", p) for p in patterns)


def imports_of(path: Path) -> set[str]:
    """Everything that a file imports, anywhere in it, by full names; of `from a import b` both a
    and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules_of(root: Path) -> dict[str, Path]:
    """The files of our packages by the names of their modules."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in (root / package).rglob("*.py")
    }


def graph_of(modules: dict[str, Path]) -> Graph:
    """Which of the modules each of them imports itself. Importing a.b.c runs the code of a and a.b
    as well."""
    graph = {}
    for name, path in modules.items():
        found = imports_of(path)
        parts = [target.split(".") for target in found]
        found |= {".".join(words[:length]) for words in parts for length in range(1, len(words))}
        graph[name] = (found & modules.keys()) - {name}
    return graph


def reach(graph: Graph, start: str) -> dict[str, str]:
    """All that `start` imports, itself or through others: name -> by way of whom."""
    came_from: dict[str, str] = {}
    todo = [start]
    while todo:
        here = todo.pop()
        for target in sorted(graph[here] - came_from.keys() - {start}):
            came_from[target] = here
            todo.append(target)
    return came_from


def broken_rules(graph: Graph) -> list[str]:
    """One line for each module that reaches what it must not, with the way there."""
    lines = []
    for name in sorted(graph):
        came_from = reach(graph, name)
        for rule in RULES:
            if not matches(name, [rule.who]):
                continue
            for target in sorted(came_from):
                if matches(target, rule.never) and not matches(target, rule.but):
                    lines.append(" -> ".join(way(came_from, target, name)))
        if name.startswith("layers"):
            direct = {target for target in graph[name] - HOUSES if matches(target, TASKS)}
            lines += [f"{name} -> {t}" for t in sorted(direct) if not matches(t, DOORS)]
    return lines


def way(came_from: dict[str, str], target: str, start: str) -> list[str]:
    steps = [target]
    while steps[0] != start:
        steps.insert(0, came_from[steps[0]])
    return steps


MODULES = modules_of(ROOT)
GRAPH = graph_of(MODULES)


def test_nobody_reaches_up():
    assert broken_rules(GRAPH) == []


@pytest.mark.parametrize(
    "name, code",
    [
        ("nunif.files", "def later():\n    import scene.masks"),
        ("nunif.numbered", "from inpaint import commands"),
        ("scene.flow", "import inpaint.losses"),
        ("inpaint.models.blocks", "from nunif.training.task import Draw"),
        # through others: a room beside the runtime that knows the trainer
        ("inpaint.occlusion", "import nunif.training.trainer"),
    ],
)
def test_an_arrow_that_runs_up_is_found(tmp_path, name, code):
    path = tmp_path / "wrong.py"
    path.write_text(code, encoding="utf-8")
    extra = imports_of(path) & MODULES.keys()
    assert extra and broken_rules(GRAPH | {name: GRAPH[name] | extra})


def test_the_packages_import_nothing_that_stands_beside_them():
    """tests, benchmarks, scripts and the like: what is installed comes without them."""
    beside = {path.stem for path in ROOT.iterdir() if path.is_dir() or path.suffix == ".py"}
    beside -= {*PACKAGES}
    assert {"tests", "benchmarks"} <= beside
    for name, path in MODULES.items():
        assert not {target.partition(".")[0] for target in imports_of(path)} & beside, name


def test_nunif_knows_no_tasks_name():
    """A message of the command line that names one task is wrong for the others."""
    text = MODULES["nunif.cli"].read_text(encoding="utf-8")
    others = {"inpaint", "matting", "character", "layers", "scene"}
    assert not others & set(text.replace(".", " ").split())
    assert "inpaint" not in text


def test_no_circles():
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            # a package and what it gathers out of its own modules are one
            for target in GRAPH[name]:
                if not name.startswith(f"{target}."):
                    visit(target, (*trail, name))
            done.add(name)

    for name in GRAPH:
        visit(name, ())


def test_torch_load_and_save_have_one_owner():
    for name, path in MODULES.items():
        if name != "nunif.models.checkpoint":
            text = path.read_text(encoding="utf-8")
            assert "torch.load(" not in text and "torch.save(" not in text, name


def imported(modules: str, names: set[str]) -> str:
    """Those of `names` that another Python has imported after these modules."""
    code = f"import sys, {modules}; print(*sorted({names!r} & sys.modules.keys()))"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_command_lines_come_up_without_torch():
    """All command tables and options, and what they stand on."""
    light = [
        name
        for name in MODULES
        if "options" in name.rpartition(".")[2] or name.endswith(".commands")
    ]
    assert len(light) >= 8
    modules = ", ".join(sorted([*light, "nunif.cli", "nunif.files"]))
    assert imported(modules, {"torch", "numpy", "cv2", "transformers"}) == ""


def test_what_runs_a_film_comes_up_without_the_trainer():
    trainer = {name for name in MODULES if name.startswith("nunif.training")}
    assert len(trainer) > 10
    modules = "inpaint.runtime.apply, inpaint.runtime.stereo, inpaint.export"
    assert imported(modules, trainer) == ""


def test_torchs_compiler_is_imported_only_where_something_is_compiled():
    """It takes a second and 150 MB."""
    modules = "inpaint.generate, inpaint.train, inpaint.evaluate, inpaint.runtime.stereo"
    assert imported(modules, {"torch", "torch._dynamo"}) == "torch"


LONGEST_FILE, LONGEST_FUNCTION = 450, 60
LONGER = {"nunif.video.reader"}


def test_files_and_functions_can_be_read_in_one_go():
    too_long = []
    for name, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        if name not in LONGER and text.count("\n") > LONGEST_FILE:
            too_long.append(name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                if node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION:
                    too_long.append(f"{name}.{node.name}")
    assert too_long == []
