"""Checkpoints: whole, or refused with a reason."""

from __future__ import annotations

import errno
import json

import pytest
import torch
from safetensors.torch import save_file

from fieldlab.errors import CheckpointError, RunFolderError
from fieldlab.runs import checkpoint
from fieldlab.runs.checkpoint import load_arrays, read_checkpoint, write_checkpoint

ARRAYS = {"a.x": torch.arange(6.0).view(2, 3), "a.y": torch.tensor([1, 2]), "b": torch.zeros(0)}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "step.safetensors"
    write_checkpoint(path, ARRAYS, {"note": "hello"})
    return path


def test_round_trip(file):
    read = read_checkpoint(file)
    assert read.header["note"] == "hello"
    assert all(torch.equal(read.arrays[name], array) for name, array in ARRAYS.items())
    assert sorted(read.part("a")) == ["x", "y"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_cut_short(file, share):
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match="cut short") as caught:
        read_checkpoint(file)
    assert caught.value.file == file


def test_trailing_bytes(file):
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(CheckpointError, match="longer than it should be"):
        read_checkpoint(file)


def test_newer_version(file, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 99)
    write_checkpoint(file, ARRAYS, {})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="newer version") as caught:
        read_checkpoint(file)
    assert caught.value.found == 99


def test_foreign_and_damaged(tmp_path, file):
    save_file(ARRAYS, str(tmp_path / "foreign.safetensors"))
    with pytest.raises(CheckpointError, match="not a fieldlab checkpoint"):
        read_checkpoint(tmp_path / "foreign.safetensors")
    save_file(ARRAYS, str(tmp_path / "odd.safetensors"), metadata={"fieldlab": json.dumps({"format_version": "x"})})
    with pytest.raises(CheckpointError, match="no version"):
        read_checkpoint(tmp_path / "odd.safetensors")
    data = bytearray(file.read_bytes())
    data[8:30] = b"\xff" * 22
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(file)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(tmp_path / "none.safetensors")


def test_shapes_types_and_names_are_checked():
    layer = torch.nn.Linear(3, 2)
    good = {name: torch.ones_like(array) for name, array in layer.state_dict().items()}
    load_arrays(layer, good, None)
    assert float(layer.weight.detach().sum()) == 6
    with pytest.raises(CheckpointError, match="wrong shape"):
        load_arrays(layer, {**good, "weight": torch.ones(3, 2)}, None)
    with pytest.raises(CheckpointError, match="wrong shape or type"):
        load_arrays(layer, {**good, "bias": torch.ones(2, dtype=torch.float64)}, None)
    with pytest.raises(CheckpointError, match="other arrays"):
        load_arrays(layer, {"weight": good["weight"]}, None)


def test_full_disk_leaves_the_old_file(file, monkeypatch):
    before = file.read_bytes()

    def full(arrays, path, metadata):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(RunFolderError, match="could not be written") as caught:
        write_checkpoint(file, ARRAYS, {})
    assert "disk space" in str(caught.value.hint)
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_full_disk_as_safetensors_tells_it(file, monkeypatch):
    def full(arrays, path, metadata):
        raise checkpoint.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(RunFolderError, match="could not be written") as caught:
        write_checkpoint(file, ARRAYS, {})
    assert "disk space" in str(caught.value.hint)
