"""Results that an evaluation has finished, kept in files so that it can be interrupted and go on.

A result is stored under a key that is made of all it follows from. What was made of anything else,
an older model file or another version of the program, has another key and is not found.
"""

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from nunif.files import file_sha256, make_folder, write_text

logger = logging.getLogger(__name__)

SUFFIX = ".json"


class Finished:
    """The results in a folder, a file for each; without a folder nothing is kept.

    num_found: how often a result was there.
    """

    def __init__(self, folder: Path | None) -> None:
        """
        Raises:
            UserError: the folder can't be made or written.
        """
        self._folder, self.num_found = folder, 0
        self._num_unknown = 0  # that were there before, while none of them was found
        if folder is not None:
            self._num_unknown = len(list(make_folder(folder).glob(f"*{SUFFIX}")))

    def get(self, key: str) -> dict[str, Any] | None:
        """What was stored under a key; None where there is nothing, or nothing that can be read."""
        if self._folder is None:
            return None
        try:
            value = json.loads((self._folder / f"{key}{SUFFIX}").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        self.num_found, self._num_unknown = self.num_found + 1, 0
        return value

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Store a result, whole or not at all. The first that is stored where none was found says
        so.

        Raises:
            UserError: the disk is full, or the folder can't be written.
        """
        if self._folder is None:
            return
        if self._num_unknown:
            logger.info(
                "%s: none of the %d results there fits: they are of other films, masks, models, "
                "settings or another version of the program; they are left as they are, and all "
                "is done afresh",
                self._folder,
                self._num_unknown,
            )
            self._num_unknown = 0
        write_text(self._folder / f"{key}{SUFFIX}", json.dumps(value))

    def tell(self) -> None:
        """Say in a line how many results were found."""
        if self.num_found:
            logger.info(
                "%d results were finished before and are taken from %s; to have them done again "
                "delete it",
                self.num_found,
                self._folder,
            )


def key_of(*parts: Any) -> str:
    """32 hex digits that follow from all parts: arrays by their type, shape and content, others by
    their JSON."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape} ".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def key_of_code(packages: Iterable[ModuleType], libraries: Iterable[ModuleType]) -> str:
    """A key of the source of packages and the versions of libraries: another program may compute
    other numbers."""
    versions = {library.__name__: library.__version__ for library in libraries}
    sources = []
    for package in packages:
        for folder in map(Path, package.__path__):
            for path in sorted(folder.rglob("*.py")):
                name = path.relative_to(folder).as_posix()
                sources.append([package.__name__, name, file_sha256(path)])
    return key_of(versions, sources)
