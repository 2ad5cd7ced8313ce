"""The page of a model: how it begins, and the rendering that is shown until the mesh is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fieldlab.export.web import run_page
from fieldlab.export.web.run_page import POSTER_SIDE, write_run_page
from tests.export.two_balls import halves, two_balls
from tests.scenes import ring_cameras


class Model:
    """Renders white, and remembers how large."""

    aabb = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])

    def render_image(self, cameras, i):
        self.size = cameras.size[i].tolist()
        return {"rgb": torch.ones(self.size[1], self.size[0], 3)}


@pytest.mark.parametrize("side", [40, 4 * POSTER_SIDE])
def test_it_begins_where_the_first_photograph_was_taken(tmp_path, monkeypatch, side):
    mesh, cameras, model, given = two_balls(), ring_cameras(6, side), Model(), {}
    leaf, tree = halves(mesh)
    monkeypatch.setattr(run_page, "write_page", lambda path, shown, **rest: given.update(rest, path=path, mesh=shown))
    write_run_page(tmp_path / "page.html", model, cameras, mesh, title="Balls", leaf=leaf, tree=tree)
    assert (given["mesh"], given["tree"], given["title"]) == (mesh, tree, "Balls")
    assert given["leaf"] is leaf
    assert model.size == [min(side, POSTER_SIDE)] * 2
    assert given["poster"].shape == (*reversed(model.size), 3)
    assert given["poster"].dtype == np.uint8
    eye, target = given["view"]
    assert eye == pytest.approx(cameras.origins[0].tolist())
    assert target == pytest.approx((0, 0, 0), abs=1e-4)
    assert given["up"][2] > 0.9
