"""What a record can show of every frame: the letters of its planes, and how each is stored.

`_M` promises that `_C` shows the truth under the hole. Where `_C` shows the thing that is to be
removed, the hole is `_H`: a trainer would learn to paint that thing.
"""

from nunif.records import Plane, Storage

COLOUR = Plane("C", Storage.RGB8, "frames")
HOLE = Plane("M", Storage.BINARY, "masks")  # True = missing, with the truth under it in C
ALPHA = Plane("A", Storage.GREY8, "alphas")  # 255 = opaque, of the foreground
FOREGROUND = Plane("F", Storage.RGB8, "foregrounds")  # its colours, straight
BEHIND = Plane("B", Storage.RGB8, "backgrounds")  # what is behind the foreground
OCCLUDER = Plane("O", Storage.RGBA8, "occluders")  # before the foreground; straight colours
BLIND_HOLE = Plane("H", Storage.BINARY, "holes")  # True = missing, with no truth anywhere
DISPARITY = Plane("D", Storage.GREY16, "disparities")  # 65535 = near
SHADOW = Plane("S", Storage.GREY8, "shadows")  # 255 = no light left, on what is behind

PLANES = {
    plane.letter: plane
    for plane in (
        COLOUR,
        HOLE,
        ALPHA,
        FOREGROUND,
        BEHIND,
        OCCLUDER,
        BLIND_HOLE,
        DISPARITY,
        SHADOW,
    )
}
