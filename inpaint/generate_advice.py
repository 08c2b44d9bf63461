"""What to do about a film that gives no records, by the reasons that were counted."""

from collections import Counter
from collections.abc import Mapping
from itertools import chain

from inpaint.generate_crops import NO_HOLE
from inpaint.options_data import FramesPreset, GenerateOptions
from nunif.video.shots import BROKEN, CUT, GAP
from scene.depth_models import MOTION_PARALLAX

Advice = Mapping[str, tuple[str, ...]]  # what may help, by the reason

TOO_SHORT = "too short"
UNREADABLE, SIZES_DIFFER = "unreadable picture", "different sizes"


def is_nothing(counts: Counter[str]) -> bool:
    """Whether of a source no record was made, and none stood there before."""
    return not counts["made"] + counts["kept"]


def describe_none(source: object, reasons: Counter[str], advice: Advice) -> str:
    """One line for a source of which no record came: why, and what to try.

    reasons: how often each came up.
    """
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common() if count)
    known = chain.from_iterable(advice.get(reason, ()) for reason, _ in reasons.most_common())
    todo = ", or ".join(dict.fromkeys(known)) or "another"
    return f"{source} gives no records ({told or 'it holds nothing'}): try {todo}"


def advice_for_video(options: GenerateOptions) -> Advice:
    """What to try for each reason why a clip of `video_inpaint` is skipped."""
    other = "another --model-type"
    if options.model_type == MOTION_PARALLAX:
        other += ", such as Any_V2_S, which needs no motion"
    wider = ("a higher --divergence-level (up to 3)",) if options.divergence_level < 3 else ()
    motion = (other, "--skip-first N, to begin where things move before a background")
    behind = ("a whole copy of it", "--skip-first N, to begin behind what is damaged or missing")
    return {
        NO_HOLE: (*wider, other),
        CUT: (
            "a smaller --seq",
            "a larger --skip-interval, in which clips can move behind a cut",
            "--skip-first N",
        ),
        BROKEN: behind,
        GAP: behind,
        "too few frames": (f"a larger --seq than {options.seq}", other),
        # of MotionParallax
        "too little motion": motion,
        "motion not consistent": motion,
        "no dominant background motion": motion,
    }


def advice_for_frames(preset: FramesPreset) -> Advice:
    """What to try for each reason why a group of `frames` is skipped."""
    span = (preset.seq - 1) * preset.step + 1
    shorter = "a smaller --seq or --step" if preset.step > 1 else "a smaller --seq"
    between = (f"{shorter}, so that groups fit between",)
    return {
        TOO_SHORT: (f"{shorter} (one record takes {span} frames)",),
        CUT: between,
        GAP: between,
        BROKEN: ("a whole copy of it",),
        UNREADABLE: ("the same with the pictures mended or removed that are named above",),
        SIZES_DIFFER: ("the same with pictures of each size in a folder of their own",),
    }
