"""Painted wooden toys on a tray: stacking rings, a locomotive, blocks, a ball and a duck. Bounded."""

from __future__ import annotations

from fieldlab.synthetic.model import Group, Light, Material, Object, Orbit, Part, SceneModel, Surroundings, paint
from fieldlab.synthetic.shapes import (
    Shape,
    arc,
    box,
    capsule,
    cone,
    cylinder,
    ellipsoid,
    mirrored,
    prism,
    smooth_union,
    sphere,
    torus,
)
from fieldlab.synthetic.textures import (
    Texture,
    bands,
    checks,
    disc,
    dots,
    gores,
    masked,
    mottled,
    noise_mask,
    plain,
    shaded,
    stripes,
    wood,
)


def _painted(color: str, roughness: float = 0.25) -> Material:
    """Glossy paint on wood: faint brush strokes, and chips that show the wood."""
    chips = masked(shaded(plain(color), 14.0, 0.10), plain("#d9b380"), noise_mask(17.0, 0.80, 0.83, 3))
    return Material(chips, roughness, 0.045)


_BEECH = Material(wood("#e8c48f", "#c4935a", "x", 11.0), 0.4)
_OAK = Material(wood("#b98249", "#7d4f26", "x", 8.0), 0.45)
_BRASS = Material(shaded(mottled("#ffd08a", "#eeae5c", 7.0), 30.0, 0.10), 0.28, 0.8, 1.0)
_RED, _ORANGE, _YELLOW = "#cf2f2a", "#ec7a22", "#f2c12e"
_GREEN, _BLUE, _VIOLET = "#3b9a48", "#2a66b8", "#7a4a9e"


def toys() -> SceneModel:
    """Describe the scene."""
    return SceneModel(
        name="toys",
        objects=(
            _tray(),
            _rings(-0.72, 0.42),
            _locomotive(0.28, -0.42),
            _blocks(0.72, 0.4),
            _ball(),
            _duck(0.02, 0.42),
        ),
        lights=(
            Light((-0.52, -0.44, 0.73), (2.35, 2.2, 1.95), 0.10),
            Light((0.8, -0.35, 0.49), (0.4, 0.45, 0.58), 0.3, shadow=False),
            Light((0.2, 0.86, 0.47), (0.5, 0.44, 0.4), 0.2),
        ),
        surroundings=Surroundings((0.64, 0.69, 0.78), (0.6, 0.58, 0.55), (0.34, 0.29, 0.25)),
        orbit=Orbit((0.0, 0.0, 0.22), 5.6, 4.0, 72.0, 36.0),
        aabb=((-1.5, -1.1, -0.2), (1.5, 1.1, 1.2)),
        exposure=0.78,
    )


def _tray() -> Object:
    inlay = masked(_OAK.texture, wood("#d9a866", "#b07f45", "y", 9.0), stripes("y", 0.4, 0.12, 0.01))
    long_side = box(1.3, 0.035, 0.09, 0.03)
    short_side = box(0.035, 0.9, 0.09, 0.03)
    grip = arc(0.2, 0.03, 90).turned("y", -55)
    return Object(
        "tray",
        (
            Group("floor", (Part("board", box(1.28, 0.9, 0.03).at(0, 0, -0.03), Material(inlay, 0.3, 0.045)),)),
            Group(
                "frame",
                (
                    Part("front", long_side.at(0, -0.9, 0.015), _BEECH),
                    Part("back", long_side.at(0, 0.9, 0.015), _BEECH),
                    Part("left", short_side.at(-1.28, 0, 0.015), _BEECH),
                    Part("right", short_side.at(1.28, 0, 0.015), _BEECH),
                    Part("corners", mirrored(mirrored(sphere(0.062).at(1.28, 0.9, 0.06)), "y"), _BRASS),
                ),
            ),
            Group(
                "handles",
                (
                    Part("left", grip.turned("z", 180).at(-1.28, 0, 0.06), _BRASS),
                    Part("right", grip.at(1.28, 0, 0.06), _BRASS),
                ),
            ),
        ),
    )


def _rings(x: float, y: float) -> Object:
    colors = (("violet", _VIOLET), ("blue", _BLUE), ("green", _GREEN), ("yellow", _YELLOW), ("orange", _ORANGE))
    z, rings = 0.075, []
    for k, (name, color) in enumerate(colors):
        minor = 0.088 - 0.007 * k
        z += minor
        speckled = (
            masked(_painted(color).texture, plain("#f6ead2"), dots(0.13, 0.022)) if k % 2 else _painted(color).texture
        )
        rings.append(Part(f"{name}_ring", torus(0.225 - 0.028 * k, minor).at(x, y, z), Material(speckled, 0.22, 0.045)))
        z += minor * 0.92
    return Object(
        "stacking_rings",
        (
            Group(
                "base",
                (
                    Part("foot", cylinder(0.35, 0.04, 0.03).at(x, y, 0.04), _BEECH),
                    Part("pole", cylinder(0.04, 0.42, 0.02).at(x, y, 0.45), _BEECH),
                ),
            ),
            Group("rings", tuple(rings)),
            Group("top", (Part("knob", sphere(0.105).at(x, y, z + 0.085), _painted(_RED)),)),
        ),
    )


def _locomotive(x: float, y: float) -> Object:
    wheel = cylinder(0.125, 0.035, 0.015).turned("x", 90)
    spokes = masked(plain(_RED), plain("#f3dfb4"), gores(8, 0.3, 0.05))
    rim = masked(spokes, plain("#2a2a2e"), lambda p: (p[0] ** 2 + p[1] ** 2 > 0.1**2).to(p[0]))
    window = box(0.085, 0.4, 0.075, 0.02).at(0, 0, 0.1) | box(0.4, 0.1, 0.075, 0.02).at(0, 0, 0.1)
    cab = box(0.16, 0.19, 0.22, 0.02) - box(0.13, 0.16, 0.3) - window
    boiler = masked(_painted(_GREEN).texture, plain("#e2b63e"), bands("z", [(-0.16, -0.13), (0.02, 0.05), (0.2, 0.23)]))
    front = cylinder(0.17, 0.03, 0.015).turned("y", 90)

    def spot(shape: Shape, dx: float, dz: float) -> Shape:
        return shape.at(x + dx, y, dz)

    wheels = [
        Part(f"wheel_{where}", wheel.at(x + dx, y + dy, 0.125), Material(rim, 0.3))
        for where, dx, dy in (
            ("front_right", 0.3, -0.2),
            ("front_left", 0.3, 0.2),
            ("middle_right", 0.0, -0.2),
            ("middle_left", 0.0, 0.2),
            ("rear_right", -0.3, -0.2),
            ("rear_left", -0.3, 0.2),
        )
    ]
    return Object(
        "locomotive",
        (
            Group(
                "chassis",
                (
                    Part("frame", spot(box(0.5, 0.17, 0.045, 0.02), 0, 0.2), _painted("#2f3e57")),
                    Part("buffer", spot(box(0.035, 0.2, 0.07, 0.02), 0.5, 0.18), _painted(_RED)),
                    Part("coupling", spot(torus(0.045, 0.016), -0.55, 0.2), _BRASS),
                ),
            ),
            Group("wheels", tuple(wheels)),
            Group(
                "boiler",
                (
                    Part(
                        "barrel",
                        spot(cylinder(0.165, 0.29, 0.02).turned("y", 90), 0.14, 0.4),
                        Material(boiler, 0.22, 0.05),
                    ),
                    Part("smokebox", spot(front, 0.45, 0.4), paint("#2a2a2e", 0.35)),
                    Part("lamp", spot(sphere(0.06), 0.49, 0.42), Material(plain("#ffe9a8"), 0.1, 0.06, 0.0, 0.4)),
                    Part("chimney", spot(cone(0.045, 0.085, 0.1, 0.01), 0.32, 0.64), paint("#2a2a2e", 0.35)),
                    Part("chimney_ring", spot(torus(0.088, 0.02), 0.32, 0.74), _BRASS),
                    Part(
                        "dome",
                        spot(smooth_union(0.03, sphere(0.08), cylinder(0.08, 0.04).at(0, 0, -0.05)), 0.06, 0.59),
                        _BRASS,
                    ),
                ),
            ),
            Group(
                "cab",
                (
                    Part("walls", spot(cab, -0.32, 0.46), _painted(_BLUE)),
                    Part("roof", spot(box(0.22, 0.235, 0.03, 0.028), -0.32, 0.7), _painted(_RED)),
                ),
            ),
        ),
    )


def _blocks(x: float, y: float) -> Object:
    def face(color: str, mark: Texture | None = None) -> Material:
        border = masked(_BEECH.texture, plain(color), lambda p: _frame(p, 0.17, 0.12))
        return Material(mark or border, 0.3)

    checked = masked(_painted(_BLUE).texture, plain("#f4e6c8"), checks(0.0867))
    dotted = masked(_painted(_RED).texture, plain("#f7ead0"), dots(0.115, 0.034))
    arch = box(0.19, 0.15, 0.15, 0.015) - cylinder(0.1, 0.5).turned("x", 90).at(0, 0, -0.15)
    roof = prism(3, 0.1, 0.15, 0.01).turned("z", 30).turned("x", 90)
    return Object(
        "blocks",
        (
            Group(
                "cubes",
                (
                    Part(
                        "lettered",
                        box(0.17, 0.17, 0.17, 0.02).turned("z", 20).at(x + 0.18, y + 0.14, 0.17),
                        face(_GREEN),
                    ),
                    Part(
                        "checked",
                        box(0.17, 0.17, 0.17, 0.02).turned("z", -14).at(x - 0.22, y + 0.2, 0.17),
                        Material(checked, 0.25),
                    ),
                    Part(
                        "dotted",
                        box(0.15, 0.15, 0.15, 0.02).turned("z", 38).at(x + 0.14, y + 0.14, 0.49),
                        Material(dotted, 0.25),
                    ),
                ),
            ),
            Group("roof", (Part("ridge", roof.turned("z", 15).at(x - 0.22, y + 0.2, 0.44), _painted(_YELLOW)),)),
            Group(
                "arch",
                (
                    Part("bridge", arch.turned("z", -25).at(x + 0.08, y - 0.26, 0.15), _painted(_ORANGE)),
                    Part(
                        "column",
                        cylinder(0.085, 0.19, 0.012).turned("z", 0).at(x + 0.38, y - 0.2, 0.19),
                        _painted(_VIOLET),
                    ),
                    Part("spire", cone(0.1, 0.0, 0.1, 0.012).at(x + 0.38, y - 0.2, 0.49), _painted(_GREEN)),
                ),
            ),
        ),
    )


def _frame(p: tuple, outer: float, inner: float):
    """One on the border of each face of a cube."""
    import torch

    a = torch.stack([c.abs() for c in p]).sort(0).values
    return ((a[1] > inner) & (a[1] < outer)).to(p[0])


def _ball() -> Object:
    skin = masked(_painted("#f5ecd8", 0.18).texture, plain(_RED), gores(6, 0.5))
    skin = masked(skin, plain(_BLUE), bands("z", [(-0.055, 0.055)]))
    skin = masked(skin, plain(_YELLOW), bands("z", [(0.2, 0.4), (-0.4, -0.2)]))
    return Object(
        "ball",
        (
            Group(
                "rubber",
                (
                    Part(
                        "skin",
                        sphere(0.27).turned("x", 32).turned("y", 18).at(-0.78, -0.48, 0.27),
                        Material(shaded(skin, 9.0, 0.06), 0.16, 0.05),
                    ),
                ),
            ),
        ),
    )


def _duck(x: float, y: float) -> Object:
    yellow = Material(shaded(mottled("#f7cf3a", "#efb321", 3.0), 22.0, 0.07), 0.22, 0.045)
    body = smooth_union(
        0.12,
        ellipsoid(0.26, 0.19, 0.165).at(0, 0, 0.19),
        capsule((0.14, 0, 0.26), (0.17, 0, 0.38), 0.1),
        capsule((-0.2, 0, 0.22), (-0.31, 0, 0.33), 0.07, 0.025),
    )
    feather = masked(yellow.texture, plain("#d98a17"), stripes("x", 0.07, 0.3, 0.15))
    wing = ellipsoid(0.14, 0.04, 0.085).turned("y", 12)
    eye = masked(plain("#1b1b20"), plain("#ffffff"), disc(0.012, 0.014, 0.009))

    def place(shape: Shape) -> Shape:
        return shape.turned("z", -118).at(x, y, 0)

    return Object(
        "duck",
        (
            Group(
                "body",
                (
                    Part("torso", place(body), yellow),
                    Part("left_wing", place(wing.at(-0.04, 0.175, 0.23)), Material(feather, 0.25)),
                    Part("right_wing", place(wing.at(-0.04, -0.175, 0.23)), Material(feather, 0.25)),
                ),
            ),
            Group(
                "head",
                (
                    Part("skull", place(sphere(0.145).at(0.19, 0, 0.47)), yellow),
                    Part("beak", place(ellipsoid(0.085, 0.065, 0.03).at(0.335, 0, 0.45)), _painted(_ORANGE)),
                    Part("left_eye", place(sphere(0.026).at(0.28, 0.095, 0.51)), Material(eye, 0.1, 0.06)),
                    Part("right_eye", place(sphere(0.026).at(0.28, -0.095, 0.51)), Material(eye, 0.1, 0.06)),
                ),
            ),
        ),
    )
