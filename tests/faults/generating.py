"""Making records of a small film in a process of its own."""

from pathlib import Path

from tests.faults.processes import Command, Hook, work_fast


def generate(
    film: Path, out: Path, log: Path, *hooks: Hook, more: tuple[object, ...] = ()
) -> Command:
    words: list[object] = [
        "create_training_data.py",
        "video_inpaint",
        "-i",
        film,
        "-o",
        out,
        "--prefix",
        "k",
        "--seq",
        4,
    ]
    words += [
        "--size",
        64,
        "--skip-interval",
        0,
        "--divergence-level",
        3,
        "--model-type",
        "MotionParallax",
    ]
    return Command([*words, "--max-workers", 2, *more], log, (work_fast,), *hooks)
