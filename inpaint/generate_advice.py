"""What to do about a film that gives no records, by the reasons that were counted."""

from collections import Counter
from collections.abc import Mapping

from inpaint.generate_crops import NO_HOLE
from inpaint.options_data import FramesPreset, GenerateOptions
from nunif.video.shots import BROKEN, CUT, GAP
from scene.depth_models import MOTION_PARALLAX

TOO_SHORT = "too short"
UNREADABLE, SIZES_DIFFER = "unreadable picture", "different sizes"


def is_nothing(counts: Counter[str]) -> bool:
    """Whether of a source no record was made, and none stood there before."""
    return not counts["made"] + counts["kept"]


def describe_none(source: object, reasons: Counter[str], advice: Mapping[str, str]) -> str:
    """One line for a source of which no record came: why, and what to try.

    reasons: how often each came up. advice: by reason.
    """
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common() if count)
    known = [advice[reason] for reason, _ in reasons.most_common() if reason in advice]
    todo = "; ".join(dict.fromkeys(known)) or "choose another"
    return f"{source} gives no records ({told or 'it holds nothing'}): {todo}"


def advice_for_video(options: GenerateOptions) -> dict[str, str]:
    """What to try for each reason why a clip of `video_inpaint` is skipped; reasons that are not
    here come from the depth estimator."""
    other = (
        "another --model-type, such as Any_V2_S, which needs no motion"
        if options.model_type == MOTION_PARALLAX
        else "another --model-type"
    )
    wider = "a higher --divergence-level (up to 3) or " if options.divergence_level < 3 else ""
    motion = f"try {other}, or --skip-first N to begin where things move before a background"
    behind = "try a whole copy of it, or --skip-first N to begin behind what is damaged or missing"
    return {
        NO_HOLE: f"try {wider}{other}",
        CUT: "try a smaller --seq, a larger --skip-interval, in which clips can move behind a cut, "
        "or --skip-first N",
        BROKEN: behind,
        GAP: behind,
        "too few frames": f"try a larger --seq than {options.seq}, or {other}",
        **dict.fromkeys(
            ("too little motion", "motion not consistent", "no dominant background motion"), motion
        ),
    }


def advice_for_frames(preset: FramesPreset) -> dict[str, str]:
    """What to try for each reason why a group of `frames` is skipped."""
    span = (preset.seq - 1) * preset.step + 1
    shorter = "a smaller --seq or --step" if preset.step > 1 else "a smaller --seq"
    between = f"try {shorter}, so that groups fit between"
    return {
        TOO_SHORT: f"one record takes {span} frames: try {shorter}, or a longer source",
        CUT: between,
        GAP: between,
        BROKEN: "try a whole copy of it",
        UNREADABLE: "mend or remove the pictures that are named above",
        SIZES_DIFFER: "keep pictures of each size in a folder of their own",
    }
