"""The kinds of holes, by name. Nothing here imports torch."""

from nunif.errors import UserError

OCCLUSION = "occlusion"  # the holes that records bring along


# inpaint.hole_shapes.SHAPES, without its cv2
MADE_MASKS = (
    "rectangle",
    "strokes",
    "object",
    "strips",
)


MASK_KINDS = (OCCLUSION, *MADE_MASKS)


def parse_masks(text: str) -> dict[str, float]:
    """ "occlusion=2,object=1" -> {"occlusion": 2.0, "object": 1.0}; a name alone weighs 1.

    Raises:
        UserError: an unknown kind, a weight that is no number, or nothing but zeros.
    """
    masks = {}
    for word in text.split(","):
        name, _, weight = (part.strip() for part in word.partition("="))
        if name not in MASK_KINDS:
            raise UserError(
                f"--mask {text}: {name!r} is not known: choose from {', '.join(MASK_KINDS)}"
            )
        try:
            masks[name] = float(weight or 1)
        except ValueError:
            raise UserError(f"--mask {text}: {weight!r} is no number: write {name}=1") from None
    if not all(0 <= weight < float("inf") for weight in masks.values()) or not any(masks.values()):
        raise UserError(f"--mask {text}: weights are 0 or more, and not all 0")
    return masks
