"""What a decoded picture brings along beside its pixels: a display matrix, metadata of HDR, EXIF,
..."""

from typing import Any

import av
from av.sidedata.sidedata import SideData, Type


def side_data_of(frame: av.VideoFrame) -> dict[str, SideData]:
    """By libav's name of the kind, without AV_FRAME_DATA_; kinds that PyAV doesn't know are
    numbered."""
    container: Any = frame.side_data  # a mapping by kind as well, and that is all its stub says
    return {data.type.name: data for data in (container[index] for index in range(len(container)))}


def _name_unknown(kind: type[Type], value: int) -> Type:
    member = object.__new__(kind)
    # its stub gives members no values
    member._name_, member._value_ = f"UNKNOWN_{value}", value  # type: ignore[assignment]
    return member


# One kind that PyAV doesn't know, such as EXIF, would else make it refuse all that the picture has.
Type._missing_ = classmethod(_name_unknown)  # type: ignore[assignment, method-assign]
