"""Segmenters from transformers as finders of people: tiny ones, made from a config."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import (
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
    ViTConfig,
)

from layers.runtime.segmenter import Segmenter, open_segmenter
from nunif.errors import UserError
from tests.layers.test_remove import film, remove, walk, wall  # noqa: F401

CPU = torch.device("cpu")


def save_segmenter(folder, *labels, likely=None):
    """A network with random weights, or one that sees a class everywhere."""
    torch.manual_seed(0)
    config = SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 8, 8],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    network = SegformerForSemanticSegmentation(config).eval()
    with torch.no_grad():
        head = network.decode_head.classifier
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.5)
        if likely is not None:
            head.weight.zero_()
            head.bias.zero_()[likely] = 20
    network.save_pretrained(folder)
    SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return network


def test_a_semantic_segmenter_of_a_folder(tmp_path):
    network = save_segmenter(tmp_path / "s", "wall", "person", "sky, clouds", "rider")
    segmenter = open_segmenter(str(tmp_path / "s"), CPU)
    frame = walk(64)[0]
    found = segmenter(frame)
    assert found.shape == frame.shape[:2] and found.dtype == np.uint8 and found.std() > 3
    processor = SegformerImageProcessor(size={"height": 64, "width": 64})
    with torch.no_grad():
        logits = network(**processor(images=[frame], return_tensors="pt")).logits
    wanted = logits.softmax(1)[:, [1, 3]].sum(1, keepdim=True)
    wanted = torch.nn.functional.interpolate(wanted, frame.shape[:2], mode="bilinear")
    assert np.abs(found - 255 * wanted[0, 0].numpy()).max() < 2
    # 16 bits are the same picture, and maps of large films are no larger than needed
    assert np.abs(segmenter(frame.astype(np.uint16) * 257).astype(int) - found).max() <= 1
    assert segmenter(np.zeros((360, 1024, 3), np.uint8)).shape == (180, 512)


class Queries:
    """A universal segmenter with three masks over the left, middle and right third."""

    config = SimpleNamespace(id2label={0: "person-merged", 1: "personal computer", 2: "people"})

    def __init__(self, *classes):
        self._classes = classes

    def eval(self):
        return self

    def to(self, device):
        return self

    def __call__(self, **inputs):
        classes = torch.full((1, 3, 4), -20.0)  # the last class is nothing
        for query, number in enumerate(self._classes):
            classes[0, query, number] = 20.0
        masks = torch.full((1, 3, 6, 9), -20.0)
        for query in range(3):
            masks[0, query, :, 3 * query : 3 * query + 3] = 20.0
        return SimpleNamespace(class_queries_logits=classes, masks_queries_logits=masks)


class Inputs(dict):
    def to(self, device):
        return self


@pytest.mark.parametrize(
    ("classes", "thirds"),
    [((0, 1, 3), (255, 0, 0)), ((3, 2, 0), (0, 255, 255)), ((1, 1, 1), (0, 0, 0))],
)
def test_a_universal_segmenter_is_read_by_its_masks(classes, thirds):
    def processor(**words):
        return Inputs()

    segmenter = Segmenter(Queries(*classes), processor, CPU, "mine")
    found = segmenter(np.zeros((6, 9, 3), np.uint8))
    assert found[3, [1, 4, 7]].tolist() == list(thirds)


def test_nobody_by_a_segmenter_and_the_film_is_copied(remove, wall, tmp_path):  # noqa: F811
    save_segmenter(tmp_path / "s", "wall", "person", likely=0)
    code, lines = remove(wall, "out.mp4", "--segmenter", tmp_path / "s")
    line = f"{tmp_path / 'out.mp4'}: nobody was found, copied as it is"
    assert code == 0 and line in lines
    assert (tmp_path / "out.mp4").read_bytes() == wall.read_bytes()
    words = ("--segmenter", tmp_path / "s", "--matting", "m.pth")
    code, lines = remove(wall, "new.mp4", *words)
    assert code == 1 and lines[-1].endswith("both find the people: leave one of them out")


def test_segmenters_that_are_refused(remove, wall, tmp_path):  # noqa: F811
    code, lines = remove(wall, "out.mp4", "--segmenter", tmp_path / "missing")
    assert code == 1 and f"--segmenter {tmp_path / 'missing'}: no segmenter that" in lines[-1]
    save_segmenter(tmp_path / "s", "wall", "personal computer")
    with pytest.raises(UserError, match="has no label for persons .its labels: wall, personal"):
        open_segmenter(str(tmp_path / "s"), CPU)
    ViTConfig().save_pretrained(tmp_path / "s")
    with pytest.raises(UserError, match="is a vit model, which names nothing in a picture"):
        open_segmenter(str(tmp_path / "s"), CPU)
