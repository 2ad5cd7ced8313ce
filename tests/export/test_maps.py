"""Maps of views: what their pixels mean, and that the folder is a capture that trains again."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import OpenEXR
import pycolmap
import pytest
import torch

from fieldlab.data.cameras import CameraModel, Cameras
from fieldlab.errors import ConfigError, RunFolderError
from fieldlab.export.captures import check_maps_options
from fieldlab.export.maps import farthest, file_names, write_maps
from fieldlab.fields.base import Field, FieldConfig
from fieldlab.pictures.camera_path import look_at
from fieldlab.render.model import ModelConfig, RadianceModel
from fieldlab.segment.hierarchy import Hierarchy, palette
from fieldlab.segment.segmentation import Segmentation
from fieldlab.sources.load import load_scene
from tests.mesh.formula_model import CENTER, RADIUS, FormulaModel, ball_color, ball_density

NAMES = ["./train/r_0", "images/r 1.jpg", "r_2.png", "../r_3"]


class Ball(FormulaModel):
    """The ball in a box with nothing outside."""

    @dataclass
    class Config:
        unbounded: bool = False

    def __init__(self) -> None:
        super().__init__(torch.stack((CENTER - 1, CENTER + 1)), ball_density, ball_color)
        self.config = self.Config()

    @property
    def outer_box(self) -> torch.Tensor:
        return self.aabb


def around(n: int = 4, size: tuple[int, int] = (40, 30), model: CameraModel = CameraModel.PERSPECTIVE) -> Cameras:
    angle = 0.3 + torch.arange(n) / n * 2 * math.pi
    positions = CENTER + 2.5 * torch.stack((angle.cos(), angle.sin(), 0.4 * (2 * angle).sin()), dim=-1)
    cameras = Cameras.pinhole(look_at(positions, CENTER, torch.tensor([0.0, 0, 1])), 1.3 * size[1], *size)
    cameras.model[:] = int(model)
    if model == CameraModel.EQUIRECTANGULAR:
        cameras.intrinsics[:, :2] = torch.tensor([size[0] / (2 * math.pi), size[1] / math.pi])
    elif model == CameraModel.FISHEYE:
        cameras.distortion[:, :2] = torch.tensor([0.05, -0.01])
    return cameras


def read_exr(path: Path) -> dict[str, np.ndarray]:
    channels = OpenEXR.File(str(path), separate_channels=True).channels()
    return {name: channel.pixels for name, channel in channels.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("maps")
    seen = []
    notes = write_maps(made, Ball(), around(), NAMES, ["depth", "normal", "opacity"],
                       tick=lambda done, total: seen.append((done, total)))  # fmt: skip
    assert notes == []
    assert seen == [(i, 4) for i in range(1, 5)]
    return made


def test_every_view_has_every_file(folder):
    names = ["r_0", "r_1", "r_2", "r_3"]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    expected = {f"{kind}/{name}.exr" for kind in ("depth", "depth_z", "normal") for name in names}
    expected |= {f"{kind}/{name}.png" for kind in ("images", "opacity") for name in names}
    expected |= {"transforms.json", "maps.json"}
    expected |= {f"sparse/0/{name}.bin" for name in ("cameras", "images", "points3D", "rigs", "frames")}
    assert files == expected


def test_exr_files_are_float32_and_tell_what_they_hold(folder):
    for kind, channels in (("depth", "Z"), ("depth_z", "Z"), ("normal", "BGR")):
        file = OpenEXR.File(str(folder / kind / "r_0.exr"), separate_channels=True)
        assert set(file.channels()) == set(channels)
        assert all(channel.pixels.dtype == np.float32 for channel in file.channels().values())
        assert file.header()["compression"] == OpenEXR.ZIP_COMPRESSION
        assert "world" in file.header()["comments"]


def on_the_ball(points: np.ndarray, least: int = 100) -> None:
    assert len(points) > least
    assert np.abs(np.linalg.norm(points - CENTER.double().numpy(), axis=1) - RADIUS).max() < 2e-4


def test_depth_leads_to_the_ball_through_transforms(folder):
    """Pinhole formulas and OpenGL axes alone, as another program would do it."""
    data = json.loads((folder / "transforms.json").read_text())
    assert data["camera_model"] == "PINHOLE"
    for frame in data["frames"]:
        assert (folder / frame["file_path"]).is_file()
        z = read_exr(folder / frame["depth_file_path"])["Z"] * data["depth_unit_scale_factor"]
        distance = read_exr(folder / frame["depth_file_path"].replace("depth_z", "depth"))["Z"]
        rows, columns = np.nonzero(z)
        x = (columns + 0.5 - data["cx"]) / data["fl_x"]
        y = (rows + 0.5 - data["cy"]) / data["fl_y"]
        local = np.stack((x, -y, -np.ones_like(x)), axis=1)
        pose = np.array(frame["transform_matrix"])
        on_the_ball(local * z[rows, columns, None] @ pose[:3, :3].T + pose[:3, 3])
        unit = local / np.linalg.norm(local, axis=1, keepdims=True)
        on_the_ball(unit * distance[rows, columns, None] @ pose[:3, :3].T + pose[:3, 3])


def test_depth_leads_to_the_ball_through_colmap(folder):
    model = pycolmap.Reconstruction(str(folder / "sparse" / "0"))
    assert model.num_reg_images() == 4
    for image in model.images.values():
        assert (folder / "images" / image.name).is_file()
        z = read_exr(folder / "depth_z" / image.name.replace(".png", ".exr"))["Z"]
        rows, columns = np.nonzero(z)
        camera = model.cameras[image.camera_id]
        plane = np.array([camera.cam_from_img(pixel) for pixel in np.stack((columns + 0.5, rows + 0.5), axis=1)])
        local = np.concatenate((plane, np.ones((len(plane), 1))), axis=1) * z[rows, columns, None]
        world = image.cam_from_world().inverse().matrix()
        on_the_ball(local @ world[:, :3].T + world[:, 3])


def test_pictures_normals_and_opacity_are_those_of_the_model(folder):
    model, cameras = Ball(), around()
    for i in range(4):
        shown = model.render_image(cameras, i, channels=("rgb", "normal", "opacity"))
        hit = shown["opacity"][..., 0].numpy() > 0.5
        picture = iio.imread(folder / "images" / f"r_{i}.png")
        assert picture.shape == (30, 40, 4)
        assert np.array_equal(picture[..., 3], hit * 255)
        assert np.abs(picture[hit][:, :3] - 255 * shown["rgb"].numpy()[hit]).max() < 1
        found = read_exr(folder / "normal" / f"r_{i}.exr")
        normal = np.stack([found[channel] for channel in "RGB"], axis=-1)
        assert np.allclose(normal, shown["normal"].numpy())
        opacity = iio.imread(folder / "opacity" / f"r_{i}.png")
        assert opacity.dtype == np.uint16
        assert np.array_equal(opacity, hit * 65535)


def test_png_says_the_same_as_exr(folder, tmp_path):
    model, cameras = Ball(), around()
    write_maps(tmp_path, model, cameras, NAMES, ["depth", "normal"], format="png", cutouts=False)
    legend = json.loads((tmp_path / "maps.json").read_text())
    data = json.loads((tmp_path / "transforms.json").read_text())
    scale = legend["depth"]["scale"]
    assert scale == legend["depth_z"]["scale"] == data["depth_unit_scale_factor"]
    assert scale * 65535 == pytest.approx(farthest(model, cameras))
    for i in range(4):
        for kind in ("depth", "depth_z"):
            depth, exact = iio.imread(tmp_path / kind / f"r_{i}.png"), read_exr(folder / kind / f"r_{i}.exr")["Z"]
            assert depth.dtype == np.uint16
            assert np.array_equal(depth > 0, exact > 0)
            assert np.abs(depth * scale - exact).max() <= 0.51 * scale
        found = read_exr(folder / "normal" / f"r_{i}.exr")
        normal = iio.imread(tmp_path / "normal" / f"r_{i}.png") * legend["normal"]["scale"] + legend["normal"]["offset"]
        exact = np.stack([found[channel] for channel in "RGB"], axis=-1)
        assert np.abs(normal - exact).max() < 1.01 / 255
        assert iio.imread(tmp_path / "images" / f"r_{i}.png").shape == (30, 40, 3)
    assert data["frames"][2]["depth_file_path"] == "depth_z/r_2.png"
    assert not (tmp_path / "opacity").exists()


def test_farthest_is_not_beyond_anything_seen():
    model, cameras = Ball(), around()
    corners = torch.cartesian_prod(*model.aabb.T)
    assert farthest(model, cameras) == pytest.approx(float(torch.cdist(cameras.origins, corners).max()))


@pytest.mark.parametrize("lens", [CameraModel.FISHEYE, CameraModel.EQUIRECTANGULAR])
def test_lenses_that_see_around_have_distances_alone(tmp_path, lens):
    cameras = around(2, (60, 40), lens)
    if lens == CameraModel.EQUIRECTANGULAR:
        cameras.camera_to_world[:, :, 3] = CENTER + 0.6 * (cameras.origins - CENTER)  # where the ball is large
    write_maps(tmp_path, Ball(), cameras, ["a", "b"], ["depth"])
    assert not (tmp_path / "depth_z").exists()
    data = json.loads((tmp_path / "transforms.json").read_text())
    assert [frame["depth_file_path"] for frame in data["frames"]] == ["depth/a.exr", "depth/b.exr"]
    scene = load_scene(tmp_path)
    assert (tmp_path / "sparse" / "0" / "images.bin").is_file()
    for views in scene.splits.values():
        for i, name in enumerate(views.names):
            distance = read_exr(tmp_path / "depth" / f"{Path(name).stem}.exr")["Z"].reshape(-1, 1)
            rays = views.cameras.image_rays(i)
            points = rays.origins.numpy() + rays.directions.numpy() * distance
            on_the_ball(points[distance[:, 0] > 0], least=40)


def test_cameras_that_one_format_cannot_hold_go_to_the_other(tmp_path):
    cameras = around(2)
    cameras.distortion[:, 5] = 1e-3
    notes = write_maps(tmp_path, Ball(), cameras, ["a", "b"], [])
    assert notes == ["a COLMAP model is not written: COLMAP has no lens with a coefficient of the eighth power of the "
                     "radius"]  # fmt: skip
    assert not (tmp_path / "sparse").exists()
    assert (tmp_path / "transforms.json").is_file()


class SolidBall(Field):
    """The ball, as hard as can be, in the unit cube."""

    kind = "solid-ball"
    config_type = FieldConfig
    latent_size = 1

    def __init__(self) -> None:
        super().__init__(FieldConfig(), 1.0)

    def geometry(self, x):
        inside = (x - 0.5).norm(dim=-1) < RADIUS / 2
        return torch.where(inside, 7.0, -20.0), torch.zeros(len(x), 1)

    def color(self, latent, x, directions, appearance=None):
        return x

    def param_groups(self):
        return []


def parts() -> Segmentation:
    """The ball's upper and lower half, ids 4 and 9, together 2."""
    ids = torch.tensor([2, 4, 9], dtype=torch.int32)
    direction = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    points = CENTER + RADIUS * torch.nn.functional.normalize(direction, dim=1)
    leaf = torch.where(points[:, 2] > CENTER[2], 1, 2)
    tree = Hierarchy(ids, torch.tensor([-1, 0, 0]), torch.tensor([0.5, 0.1, 0.1]), ["ball", "top", "bottom"],
                     palette(ids), points, leaf)  # fmt: skip
    box = (*(CENTER - 1).tolist(), *(CENTER + 1).tolist())
    return Segmentation(RadianceModel(SolidBall(), ModelConfig(box, step=0.01, grid_resolution=16)), tree)


@pytest.mark.slow
def test_labels_are_ids_and_have_a_palette(tmp_path):
    segmentation, cameras = parts(), around()
    write = partial(write_maps, model=segmentation.model, cameras=cameras, names=NAMES, segmentation=segmentation)
    write(tmp_path, kinds=["depth", "label"], threshold=0.3)
    for i in range(4):
        label = iio.imread(tmp_path / "label" / f"r_{i}.png")
        assert label.dtype == np.uint16
        depth = read_exr(tmp_path / "depth" / f"r_{i}.exr")["Z"]
        assert np.array_equal(label > 0, depth > 0)
        rays = cameras.image_rays(i)
        height = (rays.origins + rays.directions * depth.reshape(-1, 1))[:, 2].view(30, 40).numpy() - float(CENTER[2])
        sure = (depth > 0) & (np.abs(height) > 0.1)
        assert sure.sum() > 200
        assert np.array_equal(label[sure], np.where(height > 0, 4, 9)[sure] + 1)
    found = json.loads((tmp_path / "label" / "palette.json").read_text())
    assert found["thresholds"] == [0.3]
    assert found["names"] == {"2": "ball", "4": "top", "9": "bottom"}
    assert set(found["colors"]) == {"2", "4", "9"}
    write(tmp_path / "coarse", kinds=["label"], threshold=0.9)
    assert set(np.unique(iio.imread(tmp_path / "coarse" / "label" / "r_0.png"))) == {0, 3}
    write(tmp_path / "middle", kinds=["label"])
    middle = float(segmentation.hierarchy.thresholds(3)[1])
    assert json.loads((tmp_path / "middle" / "label" / "palette.json").read_text())["thresholds"] == [middle]


def test_a_full_disk_is_said_and_leaves_no_half_files(tmp_path, monkeypatch):
    def fails(self, path):
        Path(path).write_bytes(b"half")
        raise RuntimeError("Unable to write")

    monkeypatch.setattr(OpenEXR.File, "write", fails)
    with pytest.raises(RunFolderError, match="Unable to write"):
        write_maps(tmp_path, Ball(), around(), NAMES, ["depth"])
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["r_0.png"]


def test_names_are_safe_short_and_different():
    assert file_names(NAMES) == ["r_0", "r_1", "r_2", "r_3"]
    assert file_names(["train/r_0.png", "./test/r_0.png", "val/x"]) == ["train_r_0", "test_r_0", "val_x"]
    assert file_names(["a/x", "b/X", "a_x", "x", "x"]) == ["a_x", "b_X", "a_x_2", "x", "x_2"]
    assert file_names(["a b", "a_b", "A?b"]) == ["a_b", "a_b_2", "A_b_3"]
    odd = ["..", "../../etc/passwd", "C:\\x\\passwd", "/", "", ".hidden", "é/ü.png", "a:b", "x" * 500, "x" * 500]
    found = file_names(odd)
    assert len({name.casefold() for name in found}) == len(odd)
    assert all(name and "/" not in name and "\\" not in name and name[0] != "." and len(name) < 70 for name in found)


def test_impossible_maps_are_refused_before_anything_is_written(tmp_path):
    write = lambda *arguments, **more: write_maps(tmp_path / "out", Ball(), around(), *arguments, **more)  # noqa: E731
    for arguments, more, what in (
        ((NAMES, ["depths"]), {}, "no such map"),
        ((NAMES, ["depth"]), {"format": "jpg"}, "format"),
        ((NAMES, ["label"]), {}, "no segments"),
        ((NAMES[:2], ["depth"]), {}, "one name"),
    ):
        with pytest.raises(ConfigError, match=what):
            write(*arguments, **more)
    segmentation = parts()
    segmentation.hierarchy.ids[2] = 65535
    with pytest.raises(ConfigError, match="do not fit"):
        write(NAMES, ["label"], segmentation=segmentation)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError):
        write_maps(tmp_path / "file", Ball(), around(), NAMES)


def test_options_are_checked_first(tmp_path):
    check_maps_options(tmp_path, ["depth"], "exr", "all", None, False)
    (tmp_path / "file").write_text("")
    good = (tmp_path, ["depth"], "exr", "test", None, True)
    for place, value, what in ((0, tmp_path / "file", "in the place"), (1, ["colour"], "no such map"),
                               (2, "tiff", "format"), (3, str(tmp_path / "no.json"), "no such views"),
                               (3, "every 3rd", "no such views"), (4, -1.0, "out of range"),
                               (4, math.nan, "out of range")):  # fmt: skip
        with pytest.raises(ConfigError, match=what):
            check_maps_options(*good[:place], value, *good[place + 1 :])
    with pytest.raises(ConfigError, match="no segments"):
        check_maps_options(tmp_path, ["label"], "exr", "test", None, False)
