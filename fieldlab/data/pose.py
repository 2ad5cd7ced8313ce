"""Corrections to camera poses that are trained along with the field."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def rotation_from_6d(values: Tensor) -> Tensor:
    """Rotation matrices [N,3,3] whose first two columns come from ``values`` [N,6] by Gram-Schmidt.

    The continuous representation of Zhou et al. 2019, equation 14.
    """
    first = torch.nn.functional.normalize(values[:, :3], dim=-1)
    second = values[:, 3:] - (first * values[:, 3:]).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack((first, second, torch.linalg.cross(first, second)), dim=-1)


class PoseCorrections(nn.Module):
    """One small rotation about the camera center and one translation per camera; zero at the start.

    Args:
        n_cameras: N.
        unit_length: world length in which translations are counted, so that one learning rate suits all scenes.
    """

    def __init__(self, n_cameras: int, unit_length: float) -> None:
        super().__init__()
        self.unit_length = unit_length
        self.rotation = nn.Parameter(torch.zeros(n_cameras, 6))
        self.translation = nn.Parameter(torch.zeros(n_cameras, 3))

    def forward(self, camera_to_world: Tensor) -> Tensor:
        """Corrected poses [N,3,4] of poses [N,3,4]."""
        identity = self.rotation.new_tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        turn = rotation_from_6d(identity + self.rotation)
        rotation = turn @ camera_to_world[:, :, :3]
        center = camera_to_world[:, :, 3] + self.unit_length * self.translation
        return torch.cat((rotation, center[:, :, None]), dim=2)
