"""Pictures come from the fused renderer, derivatives from the separate operations: they have to agree."""

from __future__ import annotations

import pytest
import torch

from fieldlab.fields.hashgrid import HashGridConfig
from fieldlab.ops import native
from fieldlab.render.build import build_model
from fieldlab.render.model import ModelConfig
from tests.scenes import ring_cameras

BOX = (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("appearance", [0, 4])
@pytest.mark.parametrize("unbounded", [False, True])
def test_the_fused_path_sees_what_training_sees(appearance, unbounded):
    field = HashGridConfig(n_levels=4, log2_hashmap_size=10, finest_resolution=32, appearance=appearance)
    config = ModelConfig(
        BOX, step=0.02, unbounded=unbounded, cascades=3 if unbounded else 1, n_images=2, grid_resolution=32,
        cone_angle=1 / 256 if unbounded else 0.0,
    )  # fmt: skip
    model = build_model(field, config, seed=3)
    with torch.no_grad():
        model.field.encoding.table.uniform_(-1.5, 1.5)
        if appearance:
            model.appearance.uniform_(-1, 1)
    values = model.occupancy.values
    model.occupancy.exclude(torch.rand(values.shape, generator=torch.Generator().manual_seed(0)) < 0.4)
    cameras = ring_cameras(2, 24)
    rays, back = cameras.image_rays(1), torch.tensor([0.2, 0.5, 0.9])
    with torch.no_grad():
        fused, separate = model.render_rays(rays, background=back), model(rays, back)
    assert float(separate.opacity.max()) > 0.3
    assert torch.allclose(fused.rgb, separate.rgb, atol=5e-3)
    assert torch.allclose(fused.opacity, separate.opacity, atol=1e-3)
    seen = separate.opacity > 0.05
    assert torch.allclose(fused.depth[seen], separate.depth[seen], atol=1e-2)
    with native.use_backend("reference"):
        slow = model.render_rays(rays, background=back)
    assert torch.allclose(slow.rgb, fused.rgb, atol=5e-3)
