"""What a run leaves to read: loss.csv, loss.png, TensorBoard events, train.log."""

import csv
import io
import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from nunif.errors import OutputError, UserError
from nunif.files import explain_os_errors, plain_text, whole_file, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

CURVE_SECONDS = 10  # the curve is drawn at most this often, and at the end
FIRST_COLUMNS, LAST_COLUMNS = (
    ("epoch", "learning_rate", "train_loss"),
    ("data_seconds", "records_per_second", "updates", "skipped", "seconds"),
)

Row = dict[str, str]


def format_cell(value: float | int | None) -> str:
    """A number for the CSV with nine digits; nothing for what was not measured."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return str(value) if isinstance(value, int) else f"{value:.9g}"


def read_rows(path: Path, *, up_to_epoch: int) -> list[Row]:
    """The rows of a loss.csv up to and including an epoch; none when there is no file.

    Raises:
        UserError: the file is not one of ours.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
        rows = [dict(row) for row in csv.DictReader(io.StringIO(text))]
        return [row for row in rows if int(row["epoch"]) <= up_to_epoch]
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path} is not a loss table of this trainer: move it away and run the same command "
            "again"
        ) from error


def earlier_rows(paths: Sequence[Path], epochs: Sequence[int]) -> list[list[Row]]:
    """The tables of the rounds before; an empty one for a round whose table is gone.

    paths: of tables that were moved aside, the newest first. epochs: how many each round had.
    """
    left, found = list(paths), []
    for number in reversed(epochs):
        rows: list[Row] = []
        with suppress(UserError):
            rows = read_rows(left[0], up_to_epoch=number) if left else []
        if rows and int(rows[-1]["epoch"]) == number:
            left.pop(0)
            found.append(rows)
        else:
            found.append([])
    return found[::-1]


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write the table with its header, whole or not at all. Cells that a row lacks stay empty."""
    middle = [name for row in rows for name in row if name not in FIRST_COLUMNS + LAST_COLUMNS]
    columns = [
        *FIRST_COLUMNS,
        *dict.fromkeys(sorted(middle, key=lambda name: name.startswith("eval_"))),
        *LAST_COLUMNS,
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


class Journal:
    """The table, the curve and the TensorBoard events of a run, one row per epoch. earlier: the
    tables of the rounds before, for the curve."""

    def __init__(
        self,
        folder: Path,
        rows: list[Row],
        *,
        tensorboard: bool,
        first_epoch: int,
        earlier: Sequence[list[Row]] = (),
    ) -> None:
        self.folder = folder
        self.rows, self.earlier = rows, earlier
        self._events = (
            open_events(folder / "runs", first_epoch=first_epoch) if tensorboard else None
        )
        self._drawn_at = -math.inf
        self._rows_drawn = 0

    def add(self, row: dict[str, float | int | None]) -> None:
        """Append the row of an epoch to everything."""
        self.rows.append({name: format_cell(value) for name, value in row.items()})
        write_rows(self.folder / "loss.csv", self.rows)
        if self._events is not None:
            with explain_os_errors(self.folder / "runs"):
                for name, value in row.items():
                    if value is not None and name != "epoch":
                        self._events.add_scalar(name.replace("_", "/", 1), value, row["epoch"])
                self._events.flush()
        if time.monotonic() - self._drawn_at >= CURVE_SECONDS:
            self.draw()

    def show(self, pictures: Iterable[Path], *, epoch: int) -> None:
        """Add the pictures that there are of some PNG files to the events."""
        if self._events is None:
            return
        with explain_os_errors(self.folder / "runs"):
            for path in pictures:
                if path.exists():
                    with Image.open(path) as file:
                        picture = np.asarray(file.convert("RGB"))
                    tag = f"{path.parent.name}/{path.stem}"
                    self._events.add_image(tag, picture, epoch, dataformats="HWC")
            self._events.flush()

    def draw(self) -> None:
        """Draw loss.png."""
        if len(self.rows) != self._rows_drawn:
            draw_curve(self.folder / "loss.png", [*self.earlier, self.rows])
            self._rows_drawn = len(self.rows)
        self._drawn_at = time.monotonic()

    def close(self) -> None:
        """Bring the curve up to date and close the events.

        A disk that refuses even that has been told of, or will be: the curve is drawn from the
            table, and the events
        were written epoch by epoch.
        """
        with suppress(OutputError):
            self.draw()
        if self._events is not None:
            with suppress(OSError):
                self._events.close()


def open_events(folder: Path, *, first_epoch: int) -> Any:
    """A TensorBoard writer whose older events from `first_epoch` on are hidden, or None without the
    package."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.info(
            "TensorBoard is not installed, so there are no events: pip install tensorboard adds "
            "them"
        )
        return None
    if str(folder) != plain_text(str(folder)):
        logger.warning(
            "%s: TensorBoard can't write where a name is not UTF-8, so there are no events", folder
        )
        return None
    with explain_os_errors(folder):
        return SummaryWriter(str(folder), purge_step=first_epoch)


def draw_curve(path: Path, rounds: Sequence[list[Row]]) -> None:
    """Write the picture of `make_curve`."""
    figure = make_curve(rounds)
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=110)


def make_curve(rounds: Sequence[list[Row]]) -> "Figure":
    """Train and evaluation loss (log scale where they allow it) and the learning rate over the
    epochs of all rounds, each marked where it begins."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    losses, rate = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    lowest = math.inf
    begins = [0, *accumulate(int(rows[-1]["epoch"]) if rows else 0 for rows in rounds)]
    for axes, name, colour in (
        (losses, "train_loss", "C0"),
        (losses, "eval_loss", "C1"),
        (rate, "learning_rate", "C0"),
    ):
        label: str | None = name  # once for all rounds
        for begin, rows in zip(begins, rounds):
            points = [
                (begin + int(row["epoch"]), float(row[name])) for row in rows if row.get(name)
            ]
            if points:
                marker = "." if len(points) < 30 else None
                axes.plot(*zip(*points, strict=True), label=label, color=colour, marker=marker)
                lowest = min(lowest, *(value for _, value in points)) if axes is losses else lowest
                label = None
    if len(rounds) > 1:
        _mark_rounds(losses, rate, begins[:-1])
    if 0 < lowest < math.inf:
        losses.set_yscale("log")
    if losses.lines:
        losses.legend()
    losses.set_ylabel("loss")
    rate.set_ylabel("learning rate")
    rate.set_xlabel("epoch")
    return figure


def _mark_rounds(losses: Any, rate: Any, begins: Sequence[int]) -> None:
    """Draw where each round begins, and its number. losses, rate: the axes of the curves."""
    for number, begin in enumerate(begins, 1):
        for axes in (losses, rate):
            axes.axvline(begin + 0.5, color="0.6", linestyle=":")
        losses.annotate(
            f"round {number}",
            (begin + 0.5, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, 3),
            textcoords="offset points",
            fontsize=8,
        )


class _LogFile(logging.FileHandler):
    """Loses lines without a word when the disk is full: the checkpoint that can't be written either
    is told of."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def log_file(path: Path, *, quiet: bool) -> Iterator[None]:
    """Append the messages of the block to a file with their time. quiet: pass on errors only, and
    no file."""
    package = logging.getLogger("nunif.training")
    level = package.level
    if quiet:
        package.setLevel(logging.ERROR)
        try:
            yield
        finally:
            package.setLevel(level)
        return
    with explain_os_errors(path):
        handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.setLevel(logging.INFO)
    root = logging.getLogger()
    root.addHandler(handler)
    if not package.isEnabledFor(logging.INFO):
        package.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
        package.setLevel(level)
