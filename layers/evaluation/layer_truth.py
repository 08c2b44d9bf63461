"""What is known of the layers of a rendered clip, and how layers made of it are scored by it.

Axes: T frames, H W pixels, P people, J joints.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np

from layers.evaluation.truth import Errors, share
from layers.runtime.occluder import FEWEST
from scene.flow import flow_to
from scene.people.compose import without_people

NEAR = 6  # pixels of a picture of 192 rows: what is as near to a person touches it
MOVING = 0.25  # of a hole is seen in another frame: the person moves
FEWEST_JOINTS = 3  # that say in whose layer somebody is
BEFORE = 0.4  # metres by which something seen is before a joint that it hides: more than a body


class TakenApart(NamedTuple):
    """What was made of a clip.

    occluder: (T, H, W) uint8, its alpha. hole: (T, H, W) bool. ids: (T, H, W) uint8, whose layer a
        pixel is in, 0 nobody's. rule_ms: CPU time of the rule for occluders, a frame.
    """

    occluder: np.ndarray
    hole: np.ndarray
    ids: np.ndarray
    rule_ms: float


@dataclass(frozen=True)
class LayerTruth:
    """Planes of a record of the world.

    alpha: (T, H, W) uint8, of all people. behind: (T, H, W, 3) uint8. occluder: (T, H, W, 4) uint8,
    straight. disparity: (T, H, W) float32 in [0, 1]. joints: (T, P, J, 2), x before y in pixels.
    hidden: (T, P, J) bool, which of them something else hides; None: none.
    """

    alpha: np.ndarray
    behind: np.ndarray
    occluder: np.ndarray
    disparity: np.ndarray
    joints: np.ndarray
    hidden: np.ndarray | None = None

    def persons(self) -> np.ndarray:
        return self.alpha > 127

    def arrays(self) -> list[np.ndarray]:
        """All that scores follow from."""
        hidden = [] if self.hidden is None else [self.hidden]
        return [self.alpha, self.behind, self.occluder, self.disparity, self.joints, *hidden]

    @cached_property
    def things(self) -> np.ndarray:
        """(T, H, W) bool, what stands before people."""
        return self.occluder[..., 3] > 127

    @cached_property
    def contact(self) -> np.ndarray:
        """(T,): pixels of the occluder's neighbourhood that are a person's; -1 where there is
        none."""
        radius = NEAR * max(1, round(min(self.alpha.shape[1:]) / 192))
        square = np.ones((2 * radius + 1,) * 2, np.uint8)
        wide = (cv2.dilate(thing.astype(np.uint8), square) > 0 for thing in self.things)
        meets = np.array([(w & person).sum() for w, person in zip(wide, self.persons())])
        return np.where(self.things.any(axis=(1, 2)), meets, -1)

    def family(self) -> str:
        """Whether people move: whether much of what they hide is seen at another time."""
        persons = self.persons()
        if not persons.any():
            return "nobody"
        uncovered = (persons & ~persons.all(axis=0)).sum() / persons.sum()
        return "moving" if uncovered >= MOVING else "standing"


def occluder_scores(truth: LayerTruth, apart: TakenApart) -> dict[str, float]:
    """Of the frames in which an occluder touches somebody its intersection over union; of those in
    which none does the share of the picture that is taken for one; and what changes of it from
    frame to frame beside its own motion, of what was found and, by the same measure, of the true
    one, which pixels and rounding change."""
    found, overlaps, false_area = apart.occluder > 127, [], []
    changes: dict[str, list[float]] = {"occluder_change": [], "occluder_change_true": []}
    whole = {"occluder_change": apart.occluder, "occluder_change_true": truth.occluder[..., 3]}
    least = np.maximum(6, 0.08 * np.sqrt(truth.persons().sum(axis=(1, 2))))
    touches = (truth.contact >= least) & (truth.persons().sum(axis=(1, 2)) >= FEWEST)
    for number in range(len(found)):
        now, thing = found[number], truth.things[number]
        if touches[number]:
            overlaps.append(share(float((now & thing).sum()), float((now | thing).sum())))
        elif truth.contact[number] <= 0:
            false_area.append(float((now & ~thing).mean()))
        if number and touches[number] and touches[number - 1]:
            way = _way(truth.occluder[number - 1 : number + 1])
            for name, alphas in whole.items():
                before, after = _moved(alphas[number - 1], way) > 127, alphas[number] > 127
                either = float((after | before).sum())
                changes[name].append(share(float((after ^ before).sum()), either))
    return {
        "occluder": share(sum(overlaps), len(overlaps)),
        "occluder_false": share(sum(false_area), len(false_area)),
        **{name: share(sum(values), len(values)) for name, values in changes.items()},
        "rule_ms": apart.rule_ms,
    }


def _way(occluders: np.ndarray) -> np.ndarray:
    """How the occluder goes on between two frames, (2, H, W, 4): (2,) pixels, x before y. It goes
    straight on and doesn't turn.

    Its coverage is laid over that of the next frame as well as can be (Evangelidis and Psarakis,
    "Parametric image alignment using enhanced correlation coefficient", 2008); flow alone is off
    by half a pixel where a thing is small.
    """
    pictures = (occluders[..., :3] * (occluders[..., 3:] > 0)).astype(np.uint8)
    cover = np.ascontiguousarray(occluders[..., 3])
    middle = [np.argwhere(alpha > 127).mean(axis=0)[::-1] for alpha in cover]
    starts = [np.zeros(2), middle[1] - middle[0]]
    both = (cover > 127).all(axis=0)
    if both.any():
        starts.append(np.median(flow_to(pictures[0], pictures[1])[both], axis=0))
    stop = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 100, 1e-5)
    best, way = -math.inf, starts[-1]
    for start in starts:
        turn = np.array([[1, 0, start[0]], [0, 1, start[1]]], np.float32)
        try:
            likeness, turn = cv2.findTransformECC(  # type: ignore[call-overload]
                cover[0], cover[1], turn, cv2.MOTION_TRANSLATION, stop, None, 3
            )
        except cv2.error:  # they don't overlap
            continue
        if likeness > best:
            best, way = likeness, turn[:, 2]
    return np.asarray(way, np.float32)


def _moved(alpha: np.ndarray, way: np.ndarray) -> np.ndarray:
    """An alpha (H, W) uint8, moved on: (H, W) float32."""
    turn = np.array([[1, 0, way[0]], [0, 1, way[1]]], np.float32)
    return cv2.warpAffine(alpha.astype(np.float32), turn, alpha.shape[::-1])


def scene_scores(
    truth: LayerTruth, apart: TakenApart, frames: np.ndarray, scene: np.ndarray
) -> tuple[dict[str, float], list[float]]:
    """PSNR in the hole, of the clip and frame by frame: against what is behind, where the occluder
    was taken out too, else with what it shows; and pixels that changed outside. scene: (T, H, W, 3)
    uint8."""
    errors, curve = Errors(), []
    for number, hole in enumerate(apart.hole):
        without = without_people(truth.behind[number], truth.occluder[number])
        is_out = apart.occluder[number] > 0
        right = np.where(is_out[..., None], truth.behind[number], without)
        curve.append(errors.add((scene[number].astype(np.float32) - right)[hole]))
    touched = (frames != scene).any(axis=-1) & ~apart.hole
    return {"scene": errors.psnr, "touched": float(touched.sum())}, curve


def id_scores(truth: LayerTruth, apart: TakenApart) -> dict[str, float]:
    """How often somebody's layer changes, in clips of two people who never cross and of those who
    do; and, of those who don't, the share of frames in which both are in one layer."""
    num_people = truth.joints.shape[1]
    nothing = {"id_switches": math.nan, "id_switches_crossing": math.nan, "ids_shared": math.nan}
    if num_people < 2:
        return nothing
    joints = truth.joints
    if truth.hidden is not None:  # hidden ones lie in the layer of who is before them
        joints = np.where(truth.hidden[..., None], -1, joints)
    layers = np.array([list(_layers_of(*pair)) for pair in zip(apart.ids, joints)])  # T P
    switches = 0
    for person in range(num_people):
        known = layers[layers[:, person] > 0, person]
        switches += int((np.diff(known) != 0).sum())
    left, right = truth.joints[..., 0].min(axis=2), truth.joints[..., 0].max(axis=2)
    crosses = (left[:, 0] < right[:, 1]) & (left[:, 1] < right[:, 0])
    if crosses.any():
        return nothing | {"id_switches_crossing": float(switches)}
    both = (layers[:, :2] > 0).all(axis=1)
    shared = share(float((layers[both, 0] == layers[both, 1]).sum()), float(both.sum()))
    return nothing | {"id_switches": float(switches), "ids_shared": shared}


def hidden_joints(pixels: np.ndarray, distance: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Which joints (T, P, J, 2) in pixels are behind what is seen there: (T, P, J) bool.

    distance: (T, P, J) of the joints and depth: (T, H, W) of what is seen, both in metres.
    """
    height, width = depth.shape[1:]
    x, y = np.moveaxis(np.floor(pixels).astype(int), 3, 0)
    time = np.arange(len(depth))[:, None, None]
    surface = depth[time, y.clip(0, height - 1), x.clip(0, width - 1)]
    return np.asarray(surface < distance - BEFORE)


def _layers_of(ids: np.ndarray, joints: np.ndarray) -> Iterator[int]:
    """In whose layer each person of a frame is: that of most of their joints; 0 where few are seen.

    ids: (H, W). joints: (P, J, 2).
    """
    height, width = ids.shape
    places = np.floor(joints).astype(int)
    for x, y in np.moveaxis(places, 2, 1):
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        seen = ids[y[inside], x[inside]]
        seen = seen[seen > 0]
        yield int(np.bincount(seen).argmax()) if len(seen) >= FEWEST_JOINTS else 0
