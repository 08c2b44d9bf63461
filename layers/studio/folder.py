"""The films that the page may open: those of the folder it was started with, and no other file."""

import os
from dataclasses import dataclass
from pathlib import Path

from nunif.errors import UserError
from nunif.numbered import pictures_in
from nunif.video.reader import VIDEO_SUFFIXES

MOST_FILMS = 500  # that are listed
MOST_ENTRIES = 20_000  # that are looked at for them: someone may start the page in a home folder
DEEPEST = 3  # folders below the first


@dataclass(frozen=True)
class Folder:
    """root: the folder, resolved. only: the one film in it that may be opened; None: all."""

    root: Path
    only: str | None = None

    @classmethod
    def of(cls, place: Path) -> "Folder":
        """Of a film (a video, or a folder of numbered pictures) or a folder of films."""
        place = place.resolve()
        if place.is_file() or (pictures_in(place) and not _videos_in(place)):
            return cls(place.parent, place.name)
        return cls(place)

    def films(self) -> list[str]:
        """The names of the films, with the folders that they lie in, those on top first."""
        if self.only is not None:
            return [self.only]
        found: list[tuple[int, str]] = []
        num_seen = 0
        for folder, folders, files in os.walk(self.root):  # which follows no links
            inner = Path(folder).relative_to(self.root)
            depth = len(inner.parts)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            num_seen += len(folders) + len(files)
            if depth >= DEEPEST or num_seen > MOST_ENTRIES:
                folders.clear()
            names = (name for name in files if _is_video(name))
            found += [(depth, (inner / name).as_posix()) for name in names]
        allowed = (name for _, name in sorted(found) if self._is_film(self.root / name))
        return list(allowed)[:MOST_FILMS]

    def find(self, name: str) -> Path:
        """The film of a name as `films` has it.

        Raises:
            UserError: there is none, or it isn't below the folder, itself or where its link leads.
        """
        try:
            path = self.root / name
            is_inside = self._is_inside(path)
        except ValueError:  # a zero byte
            is_inside = False
        if "\\" in name or not is_inside or self.only not in (None, name):
            raise UserError(f"{name} is not in the folder that this page was started with")
        if self.only is None and not self._is_film(path):
            raise UserError(f"{name} is no film that is there: load the page again")
        return path

    def _is_film(self, path: Path) -> bool:
        return _is_video(path.name) and path.is_file() and self._is_inside(path)

    def _is_inside(self, path: Path) -> bool:
        # not Path.resolve(), which raises where a link leads to itself
        return Path(os.path.realpath(path)).is_relative_to(self.root)


def _is_video(name: str) -> bool:
    return Path(name).suffix.lower() in VIDEO_SUFFIXES and not name.startswith(".")


def _videos_in(folder: Path) -> bool:
    return any(_is_video(path.name) for path in folder.iterdir())


def safe_name(name: str) -> str:
    """The last part of a stranger's file name, with a video's suffix and nothing that steers a
    path.

    Raises:
        UserError: it isn't a video's.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(letter if letter.isalnum() or letter in " ._-()" else "_" for letter in last)
    kept = kept.lstrip(". ")[-100:]
    if not _is_video(kept):
        known = " ".join(sorted(VIDEO_SUFFIXES))
        raise UserError(f"{last or 'This file'} is no video by its name: it must end in {known}")
    return kept
