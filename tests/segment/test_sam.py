"""Masks by a model of the SAM family: a tiny one, whose weights are random."""

from __future__ import annotations

import json
import sys

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from fieldlab.apps.main import main
from fieldlab.errors import BackendError, DataError
from fieldlab.segment.mask_files import read_masks
from fieldlab.segment.sam import MaskGenerator, suppress
from tests.apps.test_commands import failure

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow
SIZE = 64


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a model of 30 thousand values that sees pictures of 64 x 64."""
    from transformers import (
        SamConfig,
        SamImageProcessor,
        SamMaskDecoderConfig,
        SamModel,
        SamPromptEncoderConfig,
        SamVisionConfig,
    )

    torch.manual_seed(0)
    vision = SamVisionConfig(hidden_size=32, output_channels=16, num_hidden_layers=2, num_attention_heads=2, mlp_dim=32,
                             image_size=SIZE, patch_size=8, window_size=4, global_attn_indexes=[1],
                             num_pos_feats=8)  # fmt: skip
    prompts = SamPromptEncoderConfig(hidden_size=16, image_size=SIZE, patch_size=8, mask_input_channels=4)
    decoder = SamMaskDecoderConfig(hidden_size=16, mlp_dim=32, num_hidden_layers=1, num_attention_heads=2,
                                   iou_head_depth=2, iou_head_hidden_dim=16)  # fmt: skip
    folder = tmp_path_factory.mktemp("model")
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    SamModel(config).save_pretrained(folder)
    square, quarter = {"height": SIZE, "width": SIZE}, {"height": SIZE // 4, "width": SIZE // 4}
    SamImageProcessor(size={"longest_edge": SIZE}, pad_size=square, mask_size={"longest_edge": SIZE // 4},
                      mask_pad_size=quarter).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    for i in range(2):
        iio.imwrite(folder / f"view_{i}.png", generator.integers(0, 256, (30, 42, 4 - i), dtype=np.uint8))
    (folder / "notes.txt").write_text("not a photograph")
    return folder


def test_of_boxes_that_nearly_coincide_the_best_stays():
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(60, 2, generator=generator) * 10
    boxes = torch.cat((low, low + 1 + torch.rand(60, 2, generator=generator) * 6), dim=1)
    scores = torch.rand(60, generator=generator)

    def iou(a, b):
        width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
        height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
        areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
        return width * height / (sum(areas) - width * height)

    for overlap in (0.1, 0.5, 0.9):
        wanted: list[int] = []
        for i in sorted(range(60), key=lambda i: -float(scores[i])):
            if all(iou(boxes[i].tolist(), boxes[j].tolist()) <= overlap for j in wanted):
                wanted.append(i)
        assert suppress(boxes, scores, overlap).tolist() == wanted


def test_masks_are_of_the_pictures_size(model):
    picture = np.random.default_rng(1).integers(0, 256, (30, 42, 3), dtype=np.uint8)
    masks = MaskGenerator(model, points=4, quality=-10, stability=0)(picture)
    assert masks
    assert all(rle["size"] == [30, 42] for rle, _ in masks)
    assert MaskGenerator(model, points=4, quality=10, stability=0)(picture) == []


def test_a_folder_gets_files_that_segment_reads(model, photographs, tmp_path, capsys):
    out = tmp_path / "masks"
    command = ["masks", str(photographs), str(out), "--model", str(model), "--points", "4", "--device", "cpu"]
    easy = ["--quality", "-10", "--stability", "0"]
    assert main([*command, *easy]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["view_0.json", "view_1.json"]
    found = read_masks(out, ["view_0", "view_1"], [(30, 42)] * 2)
    assert {name: masks.size for name, masks in found.items()} == {"view_0": (30, 42), "view_1": (30, 42)}
    entry = json.loads((out / "view_0.json").read_text())[0]
    assert {"segmentation", "area", "bbox", "predicted_iou"} <= set(entry)
    (out / "view_1.json").unlink()
    before = (out / "view_0.json").stat().st_mtime_ns
    capsys.readouterr()
    assert main([*command, *easy]) == 0
    assert "1 had theirs" in capsys.readouterr().err
    assert (out / "view_0.json").stat().st_mtime_ns == before
    assert main([*command, "--overwrite", "--quality", "10"]) == 0
    assert "nothing was good enough" in capsys.readouterr().err


def test_what_is_no_model_or_no_photograph(model, photographs, tmp_path, capsys):
    command = ["masks", str(photographs), str(tmp_path / "out"), "--device", "cpu"]
    assert "holds no model" in failure(capsys, [*command, "--model", str(tmp_path)])
    cut = tmp_path / "cut"
    cut.mkdir()
    for file in model.iterdir():
        (cut / file.name).write_bytes(file.read_bytes()[: 1000 if file.suffix == ".safetensors" else None])
    assert "cannot be read" in failure(capsys, [*command, "--model", str(cut)])
    empty = ["masks", str(tmp_path), str(tmp_path / "out"), "--model", str(model)]
    assert "no photographs" in failure(capsys, empty)
    (cut / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(DataError, match="cannot be read"):
        MaskGenerator(cut)


def test_without_transformers_it_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BackendError, match="sam"):
        MaskGenerator(model)
