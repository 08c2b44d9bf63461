"""Imports run only downwards, there are no circles, and some modules must not import torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("nunif", "inpaint")
    for path in (ROOT / package).rglob("*.py")
}
TRAINING_ONLY = {"inpaint.trainer", "inpaint.dataset", "inpaint.generate"}


def imports_of(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


GRAPH = {name: imports_of(path) & MODULES.keys() - {name} for name, path in MODULES.items()}


def test_nunif_knows_nothing_of_the_task():
    for name, targets in GRAPH.items():
        if name.startswith("nunif"):
            assert not {target for target in targets if target.startswith("inpaint")}, name


def test_what_ships_does_not_drag_the_trainer_along():
    for name, targets in GRAPH.items():
        if name.startswith(("inpaint.runtime", "inpaint.export", "inpaint.models")):
            assert not targets & TRAINING_ONLY, name


def test_the_packages_import_nothing_that_stands_beside_them():
    """tests, benchmarks, scripts and the like: what is installed comes without them."""
    beside = {path.stem for path in ROOT.iterdir() if path.is_dir() or path.suffix == ".py"} - {"nunif", "inpaint"}
    assert {"tests", "benchmarks"} <= beside
    for name, path in MODULES.items():
        assert not {target.partition(".")[0] for target in imports_of(path)} & beside, name


def test_no_circles():
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for target in GRAPH[name]:
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
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("module", ["nunif.cli", "nunif.options", "nunif.files", "inpaint.commands"])
def test_does_not_import_torch(module):
    assert imported(module, {"torch", "numpy", "cv2", "transformers"}) == ""


def test_torchs_compiler_is_imported_only_where_something_is_compiled():
    """It takes a second and 150 MB."""
    modules = "inpaint.generate, inpaint.trainer, inpaint.evaluate, inpaint.runtime.stereo"
    assert imported(modules, {"torch", "torch._dynamo"}) == "torch"
