"""The baselines do what they say on cases that are easy."""

from __future__ import annotations

import numpy as np
import torch

from fieldlab.segment.baselines import cluster_at_scales, masks_alone
from fieldlab.segment.masks import ImageMasks


def test_masks_alone_are_layers_of_how_they_lie_in_each_other():
    outer, inner, other = (np.zeros((8, 10), bool) for _ in range(3))
    outer[:6, :6] = inner[1:3, 1:3] = other[7, 7:] = True
    layers = masks_alone(ImageMasks.of([inner, outer, other], (8, 10)))
    assert layers.shape == (2, 8, 10)
    assert (layers[0][outer] == 1).all()
    assert (layers[1][inner] == 0).all()
    assert (layers[1][outer & ~inner] == 1).all()
    for layer in layers:
        assert (layer[other] == 2).all()
        assert (layer[~outer & ~other] == -1).all()


def test_clusters_of_clusters_are_found_at_their_scales():
    g = torch.Generator().manual_seed(0)
    centers = torch.nn.functional.normalize(torch.randn(2, 8, generator=g), dim=1)
    fine = torch.nn.functional.normalize(centers[:, None] + 0.25 * torch.randn(2, 3, 8, generator=g), dim=2).view(6, 8)
    truth = torch.arange(6).repeat_interleave(200)
    features = torch.nn.functional.normalize(fine[truth] + 0.02 * torch.randn(1200, 8, generator=g), dim=1)
    coarse, small = cluster_at_scales(features, (1 / 3, 1 / 20))
    assert len(np.unique(coarse)) == 2
    assert len(np.unique(small)) == 6
    assert not set(coarse.tolist()) & set(small.tolist())
    for part in range(6):
        assert len(np.unique(small[truth.numpy() == part])) == 1
    assert len(np.unique(cluster_at_scales(torch.nn.functional.normalize(torch.randn(50, 4), dim=1), (0.9,)))) == 1
