"""A paved circle in a garden: bird bath, bench, potted trees and a lantern; beyond, a cottage, trees, hills and sky.

Unbounded: lawn to the horizon and an opaque sky. Haze depends on the place, not on the viewer, so all views agree.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fieldlab.synthetic.model import Group, Light, Material, Object, Orbit, Part, SceneModel, Surroundings, paint
from fieldlab.synthetic.shapes import (
    Points,
    Shape,
    around,
    box,
    capsule,
    cone,
    cylinder,
    displaced,
    ellipsoid,
    mirrored,
    prism,
    repeated,
    smooth_union,
    sphere,
    torus,
)
from fieldlab.synthetic.textures import (
    Texture,
    cobbles,
    dots,
    fractal_noise,
    linear_rgb,
    masked,
    mottled,
    noise_mask,
    plain,
    shaded,
    smoothstep,
    stretched,
    stripes,
    wood,
)

_SUN = (-0.53, -0.50, 0.685)
_STONE = Material(
    shaded(masked(mottled("#cfc6b4", "#a79c88", 5.0), plain("#7f8a62"), noise_mask(3.0, 0.62, 0.8)), 28.0, 0.18), 0.75
)
_TIMBER = Material(wood("#b0763f", "#6f4522", "x", 10.0), 0.5)
_IRON = Material(shaded(plain("#32363b"), 20.0, 0.2), 0.4, 0.12)
_TERRACOTTA = Material(shaded(mottled("#cc6f45", "#a9502c", 5.0), 30.0, 0.15), 0.7)
_BARK = Material(stretched(shaded(mottled("#7b5a3c", "#48321f", 9.0), 20.0, 0.3), 1.0, 1.0, 0.25), 0.85)


def garden() -> SceneModel:
    """Describe the scene."""
    return SceneModel(
        name="garden",
        objects=(_ground(), _bird_bath(), _bench(), *_pots(), _lantern(), _cottage(), *_trees(), _hills()),
        lights=(Light(_SUN, (2.75, 2.5, 2.05), 0.06),),
        surroundings=Surroundings((0.42, 0.58, 0.85), (0.62, 0.66, 0.68), (0.16, 0.17, 0.10)),
        orbit=Orbit((0.0, 0.0, 0.75), 4.6, 5.0, 34.0, 55.0, 0.6),
        aabb=((-2.6, -2.6, -0.1), (2.6, 2.6, 2.5)),
        unbounded=True,
        exposure=0.72,
        sky=_sky,
        haze=_haze,
    )


def _sky(d: Points) -> Tensor:
    """Linear RGB [3,N]: blue above, pale at the horizon, drifting clouds, a glow around the sun."""
    up = d[2].clamp_min(0)
    blue, pale, white, warm = (
        torch.tensor(linear_rgb(c), device=up.device)[:, None] for c in ("#3f86d8", "#c9def0", "#ffffff", "#fff0cf")
    )
    color = pale + (blue - pale) * (1 - (1 - up) ** 3.5)
    lift = 1 / (up + 0.22)
    cover = fractal_noise((d[0] * lift + 3.1, d[1] * lift, 0.35 * lift), 1.15, 5)
    cloud = smoothstep(0.47, 0.72, cover) * smoothstep(0.01, 0.16, up)
    color = color + (white * 1.15 - color) * (0.92 * cloud)
    toward = sum(a * b for a, b in zip(d, _SUN, strict=True))
    return color + warm * (0.45 * torch.exp((torch.as_tensor(toward) - 1) * 60))


def _haze(p: Points) -> Tensor:
    far = (p[0] ** 2 + p[1] ** 2).sqrt()
    return 0.92 * (1 - torch.exp(-(((far - 6).clamp_min(0) / 62) ** 1.3)))


def _ground() -> Object:
    grass = masked(mottled("#62833c", "#466a2e", 0.55), mottled("#7d9448", "#4f7434", 9.0), noise_mask(1.4, 0.35, 0.65))
    grass = shaded(grass, 38.0, 0.35, 2)
    daisies = masked(grass, plain("#f7f4e6"), _scattered(dots(0.33, 0.028), 0.9, 0.52))
    buttercups = masked(daisies, plain("#f3cf2f"), _scattered(dots(0.27, 0.022), 1.3, 0.58, 5.0))
    paving = cobbles("#b9a88d", "#8d8377", "#5d5648", 0.21)
    curb = around(box(0.09, 0.115, 0.06, 0.025).at(2.2, 0, 0.02), 56)
    path = cobbles("#a89a86", "#857b70", "#556038", 0.3)
    return Object(
        "ground",
        (
            Group("lawn", (Part("grass", box(120, 120, 1.0).at(0, 0, -1.0), Material(buttercups, 0.95, 0.02)),)),
            Group("circle", (Part("paving", cylinder(2.15, 0.03).at(0, 0, -0.005), Material(paving, 0.7)),)),
            Group("border", (Part("curb", curb, _STONE),)),
            Group("path", (Part("stones", box(0.5, 4.0, 0.02).turned("z", 0).at(0, 6.1, 0), Material(path, 0.75)),)),
        ),
    )


def _scattered(spots, frequency: float, level: float, shift: float = 0.0):
    """Spots that grow in drifts, only near the camera's circle."""

    def mask(p: Points) -> Tensor:
        x, y = p[0] + shift, p[1] - shift
        wave = 0.11 * fractal_noise((x, y, p[2]), 3.0, 1)
        flat = (x + wave, y - wave, torch.zeros_like(x))
        near = 1 - smoothstep(5.0, 9.0, (p[0] ** 2 + p[1] ** 2).sqrt())
        return spots(flat) * near * smoothstep(level, level + 0.08, fractal_noise(flat, frequency, 2))

    return mask


def _bird_bath() -> Object:
    bowl = (cone(0.2, 0.62, 0.13, 0.03) - ellipsoid(0.56, 0.56, 0.17).at(0, 0, 0.18)).at(0, 0, 0.98)
    ripples = shaded(mottled("#5f93a8", "#3f7690", 2.5), 12.0, 0.1)
    leafy = mottled("#3a6bb0", "#2f5490", 14.0)
    return Object(
        "bird_bath",
        (
            Group(
                "pedestal",
                (
                    Part("plinth", prism(8, 0.4, 0.07, 0.02).at(0, 0, 0.09), _STONE),
                    Part("step", prism(8, 0.3, 0.05, 0.02).at(0, 0, 0.2), _STONE),
                    Part("foot", torus(0.17, 0.06).at(0, 0, 0.29), _STONE),
                    Part("column", around(cylinder(0.035, 0.27).at(0.085, 0, 0), 9).at(0, 0, 0.55), _STONE),
                    Part("core", cylinder(0.1, 0.3).at(0, 0, 0.55), _STONE),
                    Part("collar", torus(0.14, 0.045).at(0, 0, 0.83), _STONE),
                ),
            ),
            Group(
                "basin",
                (
                    Part("bowl", bowl, _STONE),
                    Part("rim", torus(0.62, 0.045).at(0, 0, 1.12), _STONE),
                    Part("water", cylinder(0.55, 0.01).at(0, 0, 1.085), Material(ripples, 0.06, 0.08)),
                ),
            ),
            _bird(leafy),
        ),
    )


def _bird(feathers: Texture) -> Group:
    def place(shape: Shape) -> Shape:
        return shape.turned("z", 205).at(0.47, -0.36, 1.28)

    body = smooth_union(0.06, ellipsoid(0.15, 0.1, 0.1), capsule((0.06, 0, 0.04), (0.11, 0, 0.12), 0.06))
    breast = masked(feathers, plain("#e07f3e"), lambda p: smoothstep(-0.02, -0.05, p[2] - 0.35 * p[0]))
    return Group(
        "bird",
        (
            Part("body", place(body), Material(breast, 0.6)),
            Part("head", place(sphere(0.08).at(0.12, 0, 0.15)), Material(feathers, 0.6)),
            Part("beak", place(cone(0.025, 0.0, 0.04, 0.004).turned("y", 90).at(0.22, 0, 0.14)), paint("#f0b02e")),
            Part("eyes", place(mirrored(sphere(0.014).at(0.165, 0.06, 0.175), "y")), paint("#101014", 0.1)),
            Part("tail", place(box(0.1, 0.04, 0.012, 0.01).turned("y", 25).at(-0.2, 0, 0.04)), Material(feathers, 0.6)),
            Part(
                "wings",
                place(mirrored(ellipsoid(0.13, 0.025, 0.06).turned("y", 14).at(-0.04, 0.09, 0.015), "y")),
                Material(stretched(feathers, 3, 1, 1), 0.6),
            ),
            Part(
                "legs", place(mirrored(capsule((0.02, 0.04, -0.06), (0.03, 0.04, -0.14), 0.01), "y")), paint("#c98a2b")
            ),
        ),
    )


def _bench() -> Object:
    def place(shape: Shape) -> Shape:
        return shape.turned("z", 38).at(-1.0, 1.28, 0)

    leg = box(0.03, 0.03, 0.23, 0.012)
    back = repeated(box(0.68, 0.016, 0.05, 0.012), "z", 0.125, 3).turned("x", -12).at(0, 0.26, 0.74)
    arm = smooth_union(
        0.03,
        capsule((0.66, -0.2, 0.68), (0.66, 0.22, 0.68), 0.028),
        capsule((0.66, -0.2, 0.45), (0.66, -0.2, 0.68), 0.025),
    )
    return Object(
        "bench",
        (
            Group(
                "seat",
                (Part("slats", place(repeated(box(0.7, 0.05, 0.02, 0.012), "y", 0.118, 4).at(0, 0, 0.46)), _TIMBER),),
            ),
            Group(
                "back",
                (
                    Part("rails", place(back), _TIMBER),
                    Part(
                        "posts",
                        place(
                            mirrored(box(0.03, 0.022, 0.24, 0.01).at(0.6, 0.0, 0.0)).turned("x", -12).at(0, 0.285, 0.7)
                        ),
                        _IRON,
                    ),
                ),
            ),
            Group(
                "frame",
                (
                    Part("front_legs", place(mirrored(leg.at(0.62, -0.19, 0.23))), _IRON),
                    Part("rear_legs", place(mirrored(leg.at(0.62, 0.22, 0.23))), _IRON),
                    Part("stretcher", place(capsule((-0.62, 0.02, 0.2), (0.62, 0.02, 0.2), 0.018)), _IRON),
                    Part("arms", place(mirrored(arm)), _IRON),
                ),
            ),
        ),
    )


def _leaves(scale: float):
    """Height in [-1,1] of foliage, features of about ``scale``."""

    def height(p: Points) -> Tensor:
        return 2 * fractal_noise(p, 1 / scale, 2) - 1

    return height


def _foliage(shape: Shape, scale: float, depth: float) -> Shape:
    return displaced(shape, _leaves(scale), depth, 3.0 * depth / scale)


def _pots() -> tuple[Object, ...]:
    things = []
    blossoms = (
        ("roses", "#e23b5a", 1.22, 1.15, 0.34),
        ("oranges", "#f08a1c", 1.5, -0.55, 0.3),
        ("box_tree", "#5c8f34", -1.35, -0.85, 0.36),
    )
    for name, color, x, y, size in blossoms:
        leaf = shaded(
            masked(mottled("#5d9440", "#3f7630", 5.0), plain("#24501f"), noise_mask(24.0, 0.5, 0.62, 2)), 40.0, 0.3, 2
        )
        if name != "box_tree":
            leaf = masked(leaf, shaded(plain(color), 24.0, 0.15), dots(0.19, 0.055))
        z = 0.98 + size
        things.append(
            Object(
                name,
                (
                    Group(
                        "pot",
                        (
                            Part("body", cone(0.17, 0.25, 0.2, 0.015).at(x, y, 0.23), _TERRACOTTA),
                            Part("rim", torus(0.255, 0.04).at(x, y, 0.44), _TERRACOTTA),
                            Part(
                                "soil",
                                cylinder(0.24, 0.012).at(x, y, 0.425),
                                Material(mottled("#4a3020", "#25170e", 30.0), 0.9),
                            ),
                        ),
                    ),
                    Group(
                        "tree",
                        (
                            Part("stem", capsule((x, y, 0.4), (x, y, 1.0), 0.035, 0.028), _BARK),
                            Part("crown", _foliage(sphere(size).at(x, y, z - 0.15), 0.13, 0.045), Material(leaf, 0.7)),
                        ),
                    ),
                ),
            )
        )
    return tuple(things)


def _lantern() -> Object:
    x, y = 0.2, -1.75
    x, y = -1.72, 0.3
    panes = mirrored(mirrored(box(0.012, 0.012, 0.13).at(0.115, 0.115, 0)), "y")
    return Object(
        "lantern",
        (
            Group(
                "post",
                (
                    Part("base", cone(0.13, 0.07, 0.1, 0.015).at(x, y, 0.12), _IRON),
                    Part("pole", cylinder(0.035, 0.75).at(x, y, 0.9), _IRON),
                    Part("ring", torus(0.045, 0.022).at(x, y, 1.25), Material(plain("#d2a24a"), 0.3, 0.7, 1.0)),
                ),
            ),
            Group(
                "lamp",
                (
                    Part("tray", cone(0.06, 0.14, 0.035, 0.01).at(x, y, 1.67), _IRON),
                    Part("bars", panes.at(x, y, 1.84), _IRON),
                    Part(
                        "glass",
                        box(0.105, 0.105, 0.13, 0.01).at(x, y, 1.84),
                        Material(mottled("#ffe2a0", "#ffd27a", 6.0), 0.08, 0.08, 0.0, 0.35),
                    ),
                    Part(
                        "cap",
                        prism(4, 0.16, 0.012, 0.01).at(x, y, 1.98) | cone(0.19, 0.03, 0.07, 0.01).at(x, y, 2.05),
                        _IRON,
                    ),
                    Part("finial", sphere(0.035).at(x, y, 2.16), Material(plain("#d2a24a"), 0.3, 0.7, 1.0)),
                ),
            ),
        ),
    )


def _cottage() -> Object:
    def place(shape: Shape) -> Shape:
        return shape.at(0.8, 12.0, 0)

    course = masked(
        shaded(mottled("#e9dfca", "#d8c9ab", 1.2), 9.0, 0.1), plain("#b9a684"), stripes("z", 0.5, 0.05, 0.02)
    )
    tiles = masked(
        shaded(mottled("#b4553a", "#93402b", 1.6), 7.0, 0.2), plain("#6e2d1e"), stripes("z", 0.22, 0.16, 0.06)
    )
    pane = masked(plain("#f7f3e8"), mottled("#4b6a80", "#2f4a5e", 1.0), _panes)
    gable = prism(3, 1.0, 2.6, 0.03).turned("z", 30).turned("x", 90).turned("z", 90)
    return Object(
        "cottage",
        (
            Group("walls", (Part("plaster", place(box(2.4, 1.6, 1.1).at(0, 0, 1.1)), Material(course, 0.85)),)),
            Group(
                "roof",
                (
                    Part("tiles", place(gable.at(0, 0, 3.18)), Material(tiles, 0.8)),
                    Part(
                        "chimney",
                        place(box(0.25, 0.25, 0.8, 0.02).at(1.4, 0.4, 4.7)),
                        Material(shaded(mottled("#a5543c", "#8a4330", 3.0), 9.0, 0.2), 0.85),
                    ),
                ),
            ),
            Group(
                "front",
                (
                    Part(
                        "door",
                        place(box(0.42, 0.06, 0.85, 0.03).at(-0.8, -1.6, 0.85)),
                        Material(wood("#3f7f86", "#2b5c63", "z", 5.0), 0.5),
                    ),
                    Part(
                        "windows",
                        place(repeated(box(0.5, 0.06, 0.45, 0.02), "x", 1.3, 2).at(1.1, -1.6, 1.25)),
                        Material(pane, 0.15, 0.06),
                    ),
                ),
            ),
        ),
    )


def _panes(p: Points) -> Tensor:
    u, v = (p[0].abs() - 0.23).abs(), (p[2].abs() - 0.21).abs()
    return ((u < 0.19) & (v < 0.17)).to(p[0])


def _trees() -> tuple[Object, ...]:
    spots = (
        (-6.2, 3.6, 1.15, "#6d9c3a", "#3c6e26"),
        (-3.9, 8.2, 1.35, "#7ba544", "#4a7a2a"),
        (6.6, 4.4, 1.25, "#8aa83c", "#527b26"),
        (5.4, -5.6, 1.1, "#5c9440", "#356a2a"),
        (-5.6, -5.2, 1.3, "#c9a23c", "#a8702a"),
        (0.9, -8.2, 1.2, "#6a9a3e", "#3d6c28"),
    )
    things = []
    for k, (x, y, s, light, dark) in enumerate(spots):
        turn = 2.4 * k
        lobes = [
            sphere(0.8 * s).at(
                x + 0.75 * s * math.cos(turn + a), y + 0.75 * s * math.sin(turn + a), 2.35 * s + 0.25 * a * s / 3
            )
            for a in (0.0, 2.1, 4.2)
        ]
        crown = smooth_union(0.6 * s, sphere(0.95 * s).at(x, y, 3.2 * s), *lobes)
        leaf = shaded(masked(mottled(light, dark, 1.1), plain(dark), noise_mask(7.5, 0.48, 0.62, 2)), 15.0, 0.35, 2)
        things.append(
            Object(
                f"tree_{k}",
                (
                    Group(
                        "trunk",
                        (
                            Part(
                                "bole",
                                smooth_union(
                                    0.3,
                                    capsule((x, y, -0.1), (x, y, 2.2 * s), 0.24 * s, 0.13 * s),
                                    cone(0.42 * s, 0.15 * s, 0.15 * s).at(x, y, 0.1),
                                ),
                                _BARK,
                            ),
                        ),
                    ),
                    Group("crown", (Part("leaves", _foliage(crown, 0.42, 0.16), Material(leaf, 0.8)),)),
                ),
            )
        )
    return tuple(things)


def _hills() -> Object:
    meadow = shaded(mottled("#6f9a44", "#547f35", 0.16), 0.9, 0.25)
    forest = shaded(mottled("#4b7a3c", "#31592e", 0.3), 1.3, 0.35)
    rock = shaded(mottled("#8d93a3", "#6f7890", 0.1), 0.6, 0.2)
    groups = []
    for k in range(7):
        a = 0.9 * k + 0.3
        slope = ellipsoid(17 + 2 * (k % 3), 12, 5.2 + 0.8 * (k % 2)).turned("z", math.degrees(a) + 90)
        cover = Material(forest if k % 2 else meadow, 0.95, 0.02)
        groups.append(Group(f"hill_{k}", (Part("slope", slope.at(34 * math.cos(a), 34 * math.sin(a), -2.4), cover),)))
    for k in range(5):
        a = 1.26 * k + 0.75
        peak = cone(26, 2.0, 6.5 + 1.5 * (k % 2), 2.0).at(85 * math.cos(a), 85 * math.sin(a), 3.0)
        groups.append(Group(f"mountain_{k}", (Part("peak", peak, Material(rock, 0.95, 0.02)),)))
    return Object("landscape", tuple(groups))
