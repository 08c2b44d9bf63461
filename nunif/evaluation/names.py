"""What tables call the models that a command line names. Nothing here imports torch."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from nunif.errors import UserError


def name_models(words: Sequence[str], reserved: Collection[str]) -> dict[str, Path | None]:
    """What --model names, in order, by what tables call it; the path of a model file, None for the
    words that are reserved.

    A model is called NAME where it is given as NAME=FILE, else as its file without the suffix, with
    as much of the folder in front as tells it from others. What is given twice is taken once.

    Args:
        reserved: what is no file and no name for one.
    Raises:
        UserError: a NAME that is taken.
    """
    parsed = [parse_model(word, reserved) for word in words]
    plain = dict.fromkeys(os.path.abspath(path) for name, path in parsed if path and name is None)
    taken = {*reserved, *(name for name, _ in parsed if name is not None)}
    names = {}
    for full in plain:
        others = taken.union(*(_names_of(other) for other in plain if other != full))
        names[full] = next((name for name in _names_of(full) if name not in others), full)
    found: dict[str, Path | None] = {}
    for name, path in parsed:
        if path is None:
            found[str(name)] = None
        elif name is None:
            found.setdefault(names[os.path.abspath(path)], path)
        elif name in reserved or found.get(name, path) != path:
            raise UserError(f"-m {name}={path}: the name {name} is taken, choose another")
        else:
            found[name] = path
    return found


def parse_model(word: str, reserved: Collection[str]) -> tuple[str | None, Path | None]:
    """What it is to be called, if that is said, and the path of a model file, if it is one."""
    if word in reserved:
        return word, None
    name, _, file = word.partition("=")
    # a file whose own path has a = in it is still that file
    if name and file and not {"/", os.sep} & {*name} and not Path(word).exists():
        return name, Path(file)
    return None, Path(word)


def _names_of(full: str) -> list[str]:
    """What a model file may be called, from short to long."""
    path = Path(full)
    folders = path.parent.parts[1:]
    starts = range(len(folders), -1, -1)
    return ["/".join((*folders[start:], path.stem)) for start in starts] + [path.name, full]
