"""The film that is worked on: its points, its masks, what came of it, and the job that runs.

Axes: H W pixels, 3 = R G B.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from layers.studio import calls
from layers.studio.calls import Point, Settings
from layers.studio.frames import Frames, Kept, as_jpeg, scaled
from layers.studio.job import CANCELLED, Job, Progress
from layers.studio.marks import painted
from nunif.errors import UserError
from nunif.numbered import numbered_pictures
from nunif.runtime.mask_pictures import read_mask_picture

FILM, MARKS, RESULT = "film", "marks", "result"  # what a picture of a frame may show
POINTS, PEOPLE = "points", "people"  # what goes
KEPT_LABELS = 64 << 20  # bytes of what was marked in frames, kept


@dataclass
class Project:
    """One film.

    number: of this opening, in the addresses of all that belongs to it. folder: for its temporary
        files.
    what: POINTS or PEOPLE. followed: the points of which `masks` were made. result_of: in words of
        the page, from what `result` was made; empty: nothing has been made.
    """

    number: int
    name: str
    frames: Frames
    folder: Path
    what: str = POINTS
    points: tuple[Point, ...] = ()
    followed: tuple[Point, ...] = ()
    masks: dict[int, Path] = field(default_factory=dict)
    result: Frames | None = None
    job: Job | None = None
    lock: RLock = field(default_factory=RLock)

    def __post_init__(self) -> None:
        self._num_made = 0
        self._finder: calls.PeopleFinder | None = None
        self._kept = Kept[np.ndarray](KEPT_LABELS, lambda labels: labels.nbytes)

    # --- what goes --------------------------------------------------------------------------------

    def set_points(self, points: Sequence[Mapping[str, Any]]) -> None:
        """
        Raises:
            UserError: one isn't in the film.
        """
        height, width = self.frames.size
        self.points = calls.read_points(points, (len(self.frames), height, width))

    def labels(self, number: int) -> np.ndarray:
        """What is marked in a frame, (h, w) uint8: by the points that were set there since the film
        was followed, else by the masks.

        Raises: as `Frames.__getitem__`.
        """
        here = tuple(point for point in self.points if point.frame == number)
        is_new = here != tuple(point for point in self.followed if point.frame == number)
        masks = self.masks
        key = (self.what, number, here if is_new else None, masks.get(number))
        labels = self._kept.get(key)
        if labels is None:
            labels = self._find_labels(number, here if is_new else (), masks.get(number))
            if self.what != PEOPLE or labels.any():  # else someone may be found there later
                self._kept.put(key, labels)
        return labels

    def _find_labels(self, number: int, new: tuple[Point, ...], mask: Path | None) -> np.ndarray:
        rgb = self.frames[number]
        if self.what == PEOPLE:
            self._finder = self._finder or calls.PeopleFinder()
            return self._finder.labels(rgb, calls.MARGINS[1])
        labels = np.zeros(self.frames.size, np.uint8)
        if mask is not None:
            labels = read_mask_picture(mask).pixels.astype(np.uint8)
        return calls.labels_of_points(rgb, new, labels) if new else labels

    def picture(self, number: int, show: str) -> bytes:
        """A JPEG of a frame.

        Raises:
            UserError: there is no such frame, or nothing to show of it.
        """
        if show == RESULT:
            if self.result is None:
                raise UserError("Nothing has been removed yet.")
            return as_jpeg(self.result[number], self.frames.shown_size)
        rgb = scaled(self.frames[number], self.frames.shown_size)
        return as_jpeg(painted(rgb, self.labels(number)) if show == MARKS else rgb, rgb.shape[:2])

    # --- work -------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Start to follow the points through the film.

        Raises:
            UserError: there is nothing to follow, or a job is running.
        """
        with self.lock:
            points = self.points
            if not any(not point.keeps for point in points):
                raise UserError("Click on something in the picture first.")
            masks = self._new_path("masks")
            words = calls.mask_words(self.frames, points, masks)

            def finish() -> None:
                old = next(iter(self.masks.values()), None)
                found = numbered_pictures(masks, name=str(masks))
                self.masks = dict(enumerate(found.values()))
                self.followed = points
                if old is not None:
                    shutil.rmtree(old.parent, ignore_errors=True)

            self._start("follow", words, finish, calls.mask_total(len(self.frames), points))

    def remove(self, settings: Settings) -> None:
        """Start to take out what is marked.

        Raises:
            UserError: nothing is marked through the film, or a job is running.
        """
        with self.lock:
            masks = None
            if self.what == POINTS:
                if not self.masks or self.followed != self.points:
                    raise UserError("Follow what should go through the film first.")
                masks = next(iter(self.masks.values())).parent
            path = self._new_path("result").with_suffix(calls.result_suffix(self.frames.path))
            words = calls.remove_words(self.frames, masks, path, settings)

            def finish() -> None:
                old, self.result = self.result, Frames(path, deinterlace=False)
                if old is not None:
                    old.close()
                    old.path.unlink(missing_ok=True)

            total = calls.remove_total(len(self.frames), masks, settings)
            self._start("remove", words, finish, total)

    def _start(self, kind: str, words: list[str], finish: Callable[[], None], total: int) -> None:
        if self.job is not None and self.job.is_running:
            raise UserError("Something is running already: wait for it, or cancel it.")
        self.job = Job(kind, words, total=total, finish=finish)

    def _new_path(self, kind: str) -> Path:
        self._num_made += 1
        return self.folder / f"{kind}_{self._num_made}"

    def cancel(self) -> None:
        """End the job that runs, if one does."""
        if self.job is not None:
            self.job.cancel()

    def close(self) -> None:
        """End the job, and remove all temporary files."""
        self.cancel()
        self.frames.close()
        if self.result is not None:
            self.result.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- for the page -----------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All that the page shows of it."""
        height, width = self.frames.size
        shown = self.frames.shown_size
        return {
            "number": self.number,
            "name": self.name,
            "width": width,
            "height": height,
            "shown": [shown[1], shown[0]],
            "frames": len(self.frames),
            "fps": float(self.frames.info.rate),
            "what": self.what,
            "points": [asdict(point) for point in self.points],
            "isFollowed": bool(self.masks),
            "isFollowedAsPointed": bool(self.masks) and self.followed == self.points,
            "hasResult": self.result is not None,
            "job": None if self.job is None else job_state(self.job.kind, self.job.progress()),
        }

    @property
    def download_name(self) -> str:
        path = Path(self.name)
        suffix = self.result.path.suffix if self.result else path.suffix
        return f"{path.stem}_removed{suffix}"


def job_state(kind: str, progress: Progress) -> dict[str, Any]:
    """Of a job that was cancelled nothing is shown."""
    return {"kind": kind, "isCancelled": progress.status == CANCELLED, **asdict(progress)}
