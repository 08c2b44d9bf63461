"""People found by a segmenter from `transformers`: a network for semantic or universal segmentation
whose labels name persons, for those who have its weights.

Axes: H W pixels of a frame, h w of a map.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from layers.runtime.holes import HoleRule
from nunif.download import quiet_hub
from nunif.errors import UserError, first_line

logger = logging.getLogger(__name__)

PERSON_WORDS = frozenset(("person", "people", "pedestrian", "human", "rider"))
LONG_SIDE = 512  # pixels of a map: its edges needn't be finer


class Segmenter:
    """Where a network names people, 255; it knows what a person is, so that no gate is asked."""

    # edges of such networks are as coarse as their maps, a quarter or an eighth of the picture
    rule = HoleRule(least=102, surely=128, grow=2.5)
    remembers = False

    def __init__(self, network: Any, processor: Any, device: torch.device, name: str) -> None:
        """
        Args:
            network: a model with a head for semantic or universal segmentation. processor: its
                image processor. name: for messages.
        Raises:
            UserError: no label names persons, or the network segments in another way.
        """
        labels = {int(number): str(label) for number, label in network.config.id2label.items()}
        self._numbers = [number for number, label in labels.items() if _is_person(label)]
        if not self._numbers:
            some = ", ".join(list(labels.values())[:5])
            raise UserError(
                f"--segmenter {name} has no label for persons (its labels: {some}, ...): choose a "
                "network that was trained with one, as on COCO, ADE20K or Cityscapes"
            )
        self._network = network.eval().to(device)
        self._processor, self._device = processor, device

    def reset(self) -> None:
        """It remembers nothing."""

    @torch.inference_mode()
    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """frame: (H, W, 3) uint8 or uint16 RGB. Returns: a map, (h, w) uint8."""
        if frame.dtype == np.uint16:
            frame = (frame >> 8).astype(np.uint8)
        inputs = self._processor(images=[frame], return_tensors="pt").to(self._device)
        outputs = self._network(**inputs)
        scale = min(1.0, LONG_SIDE / max(frame.shape[:2]))
        size = round(frame.shape[0] * scale), round(frame.shape[1] * scale)
        probability = self._persons(outputs)[None, None]
        found = F.interpolate(probability, size, mode="bilinear", align_corners=False)[0, 0]
        return found.clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()

    def _persons(self, outputs: Any) -> torch.Tensor:
        """How probable a person is, (h, w): of classes at each place, or of masks with a class
        each."""
        if hasattr(outputs, "masks_queries_logits"):
            # the last class is nothing; masks of one class add up
            classes = outputs.class_queries_logits[0].float().softmax(-1)[:, :-1]
            masks = outputs.masks_queries_logits[0].float().sigmoid()
            return torch.einsum("qc,qhw->hw", classes[:, self._numbers], masks).clamp(0, 1)
        return outputs.logits[0].float().softmax(0)[self._numbers].sum(0)


def open_segmenter(name: str, device: torch.device) -> Segmenter:
    """A segmenter of a folder, or of a name on the Hugging Face Hub: the cache first, then the Hub.

    Raises:
        UserError: it can't be had, or is no network that segments pictures.
    """
    import transformers  # seconds to import

    source = {"pretrained_model_name_or_path": name}
    is_folder = Path(name).is_dir()
    reason: Exception | None = None
    for is_local in (True,) if is_folder else (True, False):
        try:
            with quiet_hub():
                processor = transformers.AutoImageProcessor.from_pretrained(
                    **source, local_files_only=is_local
                )
                config = transformers.AutoConfig.from_pretrained(
                    **source, local_files_only=is_local
                )
                return Segmenter(
                    _kind(transformers, config, name).from_pretrained(
                        **source, local_files_only=is_local, dtype=torch.float32
                    ),
                    processor,
                    device,
                    name,
                )
        except (OSError, ValueError, RuntimeError) as error:
            reason = error
    assert reason is not None
    where = "that folder" if is_folder else "the cache of Hugging Face or on its Hub"
    raise UserError(
        f"--segmenter {name}: no segmenter that transformers can load is in {where} "
        f"({first_line(reason)}): give a folder with config.json, preprocessor_config.json and "
        "model.safetensors, as `hf download REPO --local-dir DIR` writes it, or leave the option "
        "out: the person finder that comes along needs no download"
    ) from reason


def _kind(transformers: Any, config: Any, name: str) -> Any:
    """The class that loads it.

    Raises:
        UserError: it segments in no way that is known here.
    """
    for kind in ("UniversalSegmentation", "SemanticSegmentation"):
        known = getattr(transformers, f"MODEL_FOR_{_capitals(kind)}_MAPPING", {})
        if type(config) in known:
            return getattr(transformers, f"AutoModelFor{kind}")
    raise UserError(
        f"--segmenter {name} is a {config.model_type} model, which names nothing in a picture: "
        "choose one for semantic or universal segmentation, such as SegFormer or Mask2Former"
    )


def _capitals(kind: str) -> str:
    return kind.replace("Segmentation", "_SEGMENTATION").upper()


def _is_person(label: str) -> bool:
    """ "person", "person, individual", "person-merged"; not "personal computer"."""
    words = label.lower().replace(",", " ").replace("-", " ").replace("_", " ").split()
    return bool(PERSON_WORDS & set(words))
