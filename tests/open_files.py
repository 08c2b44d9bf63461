"""What Windows does and other systems don't: to rename or remove a file that is open fails."""

import os
import pathlib
import shutil
from pathlib import Path

HAS_PROC = Path("/proc/self/fd").is_dir()  # Linux tells which files are open


def open_below(path: Path) -> list[str]:
    """The files of or below a path that this process has open or mapped."""
    top = os.path.realpath(path)
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue  # that of listdir itself
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    found += [line.split(maxsplit=5)[5] for line in maps.splitlines() if line.count("/") > 1]
    return [name for name in found if name == top or name.startswith(f"{top}/")]


def refuse_open_files(monkeypatch) -> None:
    """Let renaming and removing fail as on Windows; nothing happens where there is no /proc."""
    if not HAS_PROC:
        return

    def guarded(function, num_paths):
        def call(*arguments, dir_fd=None, **more):
            if dir_fd is None:
                for path in arguments[:num_paths]:
                    if names := open_below(path):
                        raise PermissionError(13, "it is in use, as Windows would say", names[0])
                return function(*arguments, **more)
            return function(*arguments, dir_fd=dir_fd, **more)

        return call

    for name, num_paths in (("replace", 2), ("rename", 2), ("unlink", 1), ("remove", 1)):
        monkeypatch.setattr(os, name, guarded(getattr(os, name), num_paths))
        if hasattr(pathlib, "_NormalAccessor") and hasattr(pathlib._NormalAccessor, name):
            # Python 3.10 keeps the functions that it found when it was imported
            monkeypatch.setattr(pathlib._NormalAccessor, name, staticmethod(getattr(os, name)))
    monkeypatch.setattr(shutil, "rmtree", guarded(shutil.rmtree, 1))
