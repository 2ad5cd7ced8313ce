"""LPIPS, the learned perceptual distance (Zhang et al. 2018, eq. 1), for people who have its weights.

The backbone is AlexNet's five convolutions. fieldlab ships no weights and fetches none: the distance is computed only
when a file is given, and no number of it is quoted anywhere in the documentation.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fieldlab.errors import CheckpointError, DataError

# (input channels, output channels, kernel, stride, padding, halve before) of the convolutions, and their names in the
# usual Sequential of AlexNet, which is how weight files call them.
CONVOLUTIONS = {
    "features.0": (3, 64, 11, 4, 2, False),
    "features.3": (64, 192, 5, 1, 2, True),
    "features.6": (192, 384, 3, 1, 1, True),
    "features.8": (384, 256, 3, 1, 1, False),
    "features.10": (256, 256, 3, 1, 1, False),
}
INPUT_MEAN = (-0.030, -0.088, -0.188)  # of pictures in [-1, 1]
INPUT_DEVIATION = (0.458, 0.448, 0.450)
SMALLEST_SIDE = 35  # below this the last convolution would see less than one pixel of the second pooling


class Lpips(nn.Module):
    """Sum over layers of the weighted squared distance between unit feature vectors, averaged over the picture."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(n_in, n_out, kernel, stride, padding)
            for n_in, n_out, kernel, stride, padding, _ in CONVOLUTIONS.values()
        )
        self.heads = nn.ParameterList(torch.zeros(shape[1]) for shape in CONVOLUTIONS.values())
        self.register_buffer("mean", torch.tensor(INPUT_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(INPUT_DEVIATION).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def features(self, picture: Tensor) -> list[Tensor]:
        """Rectified activations of every convolution for a picture [1,3,H,W] in [-1,1]."""
        found = []
        x = (picture - self.mean) / self.deviation
        for layer, (*_, halve) in zip(self.layers, CONVOLUTIONS.values(), strict=True):
            if halve:
                x = nn.functional.max_pool2d(x, kernel_size=3, stride=2)
            x = layer(x).relu()
            found.append(x)
        return found

    @torch.no_grad()
    def distance(self, prediction: Tensor, target: Tensor) -> float:
        """LPIPS between two pictures [H,W,3] in [0,1].

        Raises:
            DataError: a picture is too small for the network.
        """
        if min(prediction.shape[:2]) < SMALLEST_SIDE:
            raise DataError(
                "a picture is too small for LPIPS",
                found=f"{prediction.shape[1]}x{prediction.shape[0]}",
                expected=f"at least {SMALLEST_SIDE}x{SMALLEST_SIDE} pixels",
            )
        pair = [
            self.features(image.float().clamp(0, 1).permute(2, 0, 1).unsqueeze(0) * 2 - 1)
            for image in (prediction, target)
        ]
        total = 0.0
        for ours, theirs, head in zip(*pair, self.heads, strict=True):
            difference = (_unit(ours) - _unit(theirs)).square()
            total += float((difference * head.view(1, -1, 1, 1)).sum(1).mean())
        return total


def load_lpips(path: str | Path) -> Lpips:
    """The network with the weights of a safetensors file.

    The file holds AlexNet's ``features.{0,3,6,8,10}.{weight,bias}`` and the heads ``lin{0..4}.weight`` (or
    ``lin{0..4}.model.1.weight``), of any shape with one number per channel.

    Raises:
        CheckpointError: the file is missing, damaged, or lacks an array of the right size.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError("the LPIPS weights are missing", file=path, hint="give a safetensors file, or none")
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError("the LPIPS weights cannot be read", file=path, found=str(error)) from error
    network = Lpips()
    state = network.state_dict()
    for i, name in enumerate(CONVOLUTIONS):
        for part in ("weight", "bias"):
            key = f"layers.{i}.{part}"
            state[key] = _array(arrays, path, state[key].shape, f"{name}.{part}")
        key = f"heads.{i}"
        state[key] = _array(arrays, path, state[key].shape, f"lin{i}.weight", f"lin{i}.model.1.weight")
    network.load_state_dict(state)
    return network


def chosen_lpips(path: str | Path | None = None) -> Lpips | None:
    """The network of a file, or of the one that the variable ``FIELDLAB_LPIPS`` names; None without either.

    Raises:
        As :func:`load_lpips`.
    """
    chosen = path or os.environ.get("FIELDLAB_LPIPS")
    return load_lpips(chosen) if chosen else None


def _array(arrays: dict[str, Tensor], path: Path, shape: torch.Size, *names: str) -> Tensor:
    for name in names:
        if name in arrays:
            if arrays[name].numel() != shape.numel():
                raise CheckpointError(
                    "the LPIPS weights have the wrong size",
                    file=path,
                    field=name,
                    found=list(arrays[name].shape),
                    expected=list(shape),
                )
            return arrays[name].reshape(shape).float()
    raise CheckpointError("the LPIPS weights lack an array", file=path, field=names[0], found="nothing")


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
