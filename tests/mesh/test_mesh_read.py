"""Meshes from files: their places, colors and textures, and what is wrong with damaged ones."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from fieldlab.errors import ConfigError, DataError
from fieldlab.mesh.metrics import mesh_shape
from fieldlab.mesh.read import read_mesh

TO_FILE = np.array([[0.0, 2, 0, 1], [0, 0, 2, -3], [2, 0, 0, 0.5], [0, 0, 0, 1]])  # y, z, x, twice as large


def ball() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(2)


def colored() -> trimesh.Trimesh:
    made = ball()
    shades = (made.vertices * 127 + 128).astype(np.uint8)
    made.visual.vertex_colors = np.concatenate((shades, np.full_like(shades[:, :1], 255)), axis=1)
    return made


def quad(color: tuple[int, int, int], at: float = 0.0) -> trimesh.Trimesh:
    """A unit square at x with a texture that is ``color`` but for its upper left quarter, which is white."""
    picture = np.full((8, 8, 3), color, dtype=np.uint8)
    picture[:4, :4] = 255
    corners = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    material = PBRMaterial(baseColorTexture=Image.fromarray(picture))
    vertices = np.pad(corners + np.array([at, 0.0]), ((0, 0), (0, 1)))
    visual = TextureVisuals(uv=corners, material=material)
    return trimesh.Trimesh(vertices, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)


def rewritten(path: Path, change) -> None:
    """A GLB file with its header changed."""
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    header = json.loads(data[20 : 20 + length])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    size = 20 + len(text) + len(rest)
    path.write_bytes(struct.pack("<4s4I", b"glTF", 2, size, len(text), 0x4E4F534A) + text + rest)


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply", "stl"])
def test_formats(tmp_path, suffix):
    path = tmp_path / f"ball.{suffix}"
    ball().export(path)
    found = read_mesh(path)
    shape = mesh_shape(found)
    assert (shape.triangles, shape.components, shape.watertight, shape.manifold) == (320, 1, True, True)
    assert np.allclose(np.linalg.norm(found.vertices, axis=1), 1, atol=1e-6)
    assert found.texture is None
    assert ((found.normals() * found.vertices).sum(1) > 0.9).all()


@pytest.mark.parametrize("suffix", ["obj", "ply"])
def test_colors_are_those_of_the_file(tmp_path, suffix):
    path, made = tmp_path / f"ball.{suffix}", colored()
    made.export(path)
    found = read_mesh(path)
    expected = (found.vertices * 127 + 128).astype(int)
    assert np.abs(found.colors.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_colors_of_gltf_are_linear(tmp_path, kind):
    """Written as linear values of every type that glTF allows, and sRGB when read: formula of the sRGB curve."""
    made, path = ball(), tmp_path / "ball.glb"
    linear = np.linspace(0, 1, len(made.vertices))[:, None].repeat(4, 1)
    scale = 1 if kind == np.float32 else np.iinfo(kind).max
    made.vertex_attributes["_C"] = (linear * scale).astype(kind)
    made.export(path)

    def rename(header):
        attributes = header["meshes"][0]["primitives"][0]["attributes"]
        attributes["COLOR_0"] = attributes.pop("_C")

    rewritten(path, rename)
    found = read_mesh(path).colors
    held = np.floor(linear * scale) / scale if scale > 1 else linear
    expected = np.where(held <= 0.0031308, 12.92 * held, 1.055 * held ** (1 / 2.4) - 0.055) * 255
    assert np.abs(found - expected[:, :3]).max() <= 0.51


def test_pieces_of_a_scene_are_where_it_places_them(tmp_path):
    scene, path = trimesh.Scene(), tmp_path / "scene.glb"
    for x, mirror in ((0, 1), (5, -1)):
        at = np.diag([2.0, 2.0, 2.0 * mirror, 1.0])
        at[0, 3] = x
        scene.add_geometry(ball(), transform=at, geom_name="ball", node_name=f"at {x}")
    scene.export(path)
    found = read_mesh(path)
    shape = mesh_shape(found)
    assert (shape.components, shape.manifold) == (2, True)
    assert shape.volume == pytest.approx(2 * 8 * ball().volume, rel=1e-5)  # the mirrored one is not inside out
    assert found.vertices[:, 0].min() == pytest.approx(-2)
    assert found.vertices[:, 0].max() == pytest.approx(7)
    assert ((found.normals() * (found.vertices - [[5, 0, 0]]))[found.vertices[:, 0] > 3].sum(1) > 1.8).all()


@pytest.mark.parametrize("suffix", ["glb", "obj"])
def test_textures(tmp_path, suffix):
    path = tmp_path / f"quad.{suffix}"
    quad((200, 10, 20)).export(path)
    texture = read_mesh(path).texture
    assert texture.color.shape == (8, 8, 3)
    assert np.abs(texture.color[6, 6].astype(int) - (200, 10, 20)).max() <= 3
    corner = read_mesh(path).vertices[:, :2]
    assert np.allclose(texture.uv, corner, atol=1e-6)


def test_textures_of_several_pieces_share_a_picture(tmp_path):
    path, plain = tmp_path / "scene.glb", ball()
    plain.apply_translation((9, 0, 0))
    trimesh.Scene([quad((200, 10, 20)), quad((10, 200, 20), 3.0), plain]).export(path)
    found = read_mesh(path)
    picture, side = found.texture.color, found.texture.color.shape[0]
    assert picture.shape == (side, side, 3)

    def color(x: float, y: float) -> list[int]:
        """Of the picture under the corner of a square, which is half a pixel from its edge."""
        at = np.linalg.norm(found.vertices - (x, y, 0), axis=1).argmin()
        u, v = found.texture.uv[at]
        return picture[int((1 - v) * side), int(u * side)].tolist()

    assert color(1, 0) == [200, 10, 20]
    assert color(4, 0) == [10, 200, 20]
    assert color(0, 1) == color(3, 1) == [255, 255, 255]
    assert color(9, 0) == [128, 128, 128]


def recorded(path: Path) -> None:
    """A ball written to a file turned, scaled and moved, with a record of it."""
    record: dict[str, object] = {"axes": "input", "scale": 2.0, "to_file": TO_FILE.ravel().tolist()}
    made = colored()
    made.apply_transform(TO_FILE)
    if path.suffix == ".glb":
        scene = trimesh.Scene([made])
        scene.metadata["fieldlab"] = record
        scene.export(path)
        return
    made.export(path)
    data, text = path.read_bytes(), json.dumps(record).encode()
    start, mark = (b"ply\n", b"comment ") if path.suffix == ".ply" else (b"", b"# ")
    path.write_bytes(start + mark + b"fieldlab " + text + b"\n" + data[len(start) :])


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_what_was_recorded_is_undone(tmp_path, suffix):
    path = tmp_path / f"ball.{suffix}"
    recorded(path)
    found = read_mesh(path)
    assert np.allclose(np.linalg.norm(found.vertices, axis=1), 1, atol=1e-5)
    assert ((found.normals() * found.vertices).sum(1) > 0.9).all()
    assert mesh_shape(found).volume == pytest.approx(ball().volume, rel=1e-4)
    if suffix == "ply":  # colors tell the axes: they are made of the place on the ball
        assert np.abs(found.colors - (found.vertices * 127 + 128)).max() <= 1.5


def test_a_record_that_cannot_be_undone(tmp_path):
    for wrong in ([0] * 16, [1, 2, 3], "far", [1e400] * 16):
        path = tmp_path / "ball.ply"
        recorded(path)
        data = path.read_bytes()
        line = data[: data.index(b"\nformat")].split(b"fieldlab ")[1]
        path.write_bytes(data.replace(line, json.dumps({"to_file": wrong}).encode()))
        with pytest.raises(DataError, match=r"undone|damaged") as error:
            read_mesh(path)
        assert str(path) in str(error.value)


def test_points_only_where_they_will_do(tmp_path):
    path = tmp_path / "points.ply"
    trimesh.PointCloud(np.random.default_rng(0).random((50, 3))).export(path)
    found = read_mesh(path, points=True)
    assert found.vertices.shape == (50, 3)
    assert found.faces.shape == (0, 3)
    with pytest.raises(DataError, match="no surface"):
        read_mesh(path)


def test_what_is_no_mesh(tmp_path):
    with pytest.raises(DataError, match="missing"):
        read_mesh(tmp_path / "none.glb")
    with pytest.raises(ConfigError, match="no mesh"):
        read_mesh(tmp_path / "mesh.txt")
    header = b"ply\nformat binary_little_endian 1.0\nelement vertex %d\nproperty float x\nend_header\n"
    damaged = {
        "empty.glb": b"", "noise.glb": bytes(range(200)), "empty.ply": b"", "noise.ply": bytes(range(200)),
        "huge.ply": header % 10**12, "less.ply": header % -1, "empty.obj": b"", "far.obj": b"v 0 0 0\nf 1 2 3\n",
        "nan.obj": b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "one.obj": b"v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n",
        "noise.stl": bytes(range(200)),
    }  # fmt: skip
    for name, data in damaged.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError) as error:
            read_mesh(tmp_path / name)
        assert name in str(error.value)


def test_a_gltf_file_that_announces_too_much(tmp_path):
    path = tmp_path / "ball.glb"
    ball().export(path)

    def change(header):
        for array in header["accessors"]:
            array["count"] = 10**10
            del array["bufferView"]

    rewritten(path, change)
    with pytest.raises(DataError, match="more than it holds"):
        read_mesh(path)
