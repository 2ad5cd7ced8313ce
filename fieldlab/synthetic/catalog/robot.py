"""A tin robot on a walnut plinth, with a flower in its hand. Bounded; front is -y."""

from __future__ import annotations

from fieldlab.synthetic.model import Group, Light, Material, Object, Orbit, Part, SceneModel, Surroundings, paint
from fieldlab.synthetic.shapes import (
    Shape,
    Vector,
    arc,
    around,
    bent,
    box,
    capsule,
    cone,
    cylinder,
    ellipsoid,
    mirrored,
    repeated,
    smooth_union,
    sphere,
    torus,
    union,
)
from fieldlab.synthetic.textures import (
    bands,
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

_WALNUT = Material(wood("#8a5a33", "#43240f", "x", 7.0), 0.35, 0.05)
_BRASS = Material(shaded(mottled("#ffd08a", "#eeae5c", 7.0), 30.0, 0.10), 0.30, 0.8, 1.0)
_STEEL = Material(shaded(plain("#b9bec4"), 24.0, 0.10), 0.30, 0.62, 1.0)
_RUBBER = Material(shaded(plain("#2b2d33"), 18.0, 0.25), 0.65)
_TEAL = Material(
    masked(
        shaded(mottled("#1f9a94", "#178079", 3.5), 22.0, 0.08),
        shaded(plain("#c9b79a"), 30.0, 0.3),
        noise_mask(11.0, 0.72, 0.76, 4),
    ),
    0.28,
    0.05,
)
_CREAM = Material(shaded(mottled("#f2e3c2", "#e6d0a4", 4.0), 25.0, 0.06), 0.35)
_ORANGE = Material(masked(shaded(plain("#e0662a"), 9.0, 0.12), plain("#f4e4c4"), stripes("y", 0.16, 0.28, 0.05)), 0.3)
_TERRACOTTA = Material(shaded(mottled("#c8693f", "#a9502c", 6.0), 35.0, 0.15), 0.7)


def robot() -> SceneModel:
    """Describe the scene."""
    hand: Vector = (0.66, -0.56, 0.86)
    return SceneModel(
        name="robot",
        objects=(_stand(), _robot(hand), _flower(hand)),
        lights=(
            Light((-0.48, -0.62, 0.62), (2.3, 2.15, 1.9), 0.10),
            Light((0.83, -0.28, 0.48), (0.42, 0.47, 0.6), 0.3, shadow=False),
            Light((0.1, 0.85, 0.52), (0.6, 0.5, 0.42), 0.2),
        ),
        surroundings=Surroundings((0.62, 0.68, 0.78), (0.6, 0.58, 0.55), (0.34, 0.29, 0.25)),
        orbit=Orbit((0.0, 0.0, 0.9), 5.0, -12.0, 70.0, 36.0),
        aabb=((-1.12, -1.12, -0.3), (1.12, 1.12, 2.2)),
        exposure=0.80,
    )


def _stand() -> Object:
    plate = box(0.2, 0.02, 0.045, 0.012).at(0, -1.0, -0.09)
    nail = sphere(0.014)
    return Object(
        "stand",
        (
            Group(
                "plinth",
                (
                    Part("top", cylinder(0.92, 0.03, 0.015).at(0, 0, -0.03), _WALNUT),
                    Part("band", cylinder(0.95, 0.025, 0.02).at(0, 0, -0.075), _BRASS),
                    Part("base", cylinder(0.99, 0.06, 0.03).at(0, 0, -0.15), _WALNUT),
                ),
            ),
            Group("feet", (Part("balls", around(sphere(0.085).at(0.72, 0, -0.215), 5), _BRASS),)),
            Group(
                "plaque",
                (
                    Part("plate", plate.at(0, 0.012, -0.06), _BRASS),
                    Part("nails", mirrored(nail.at(0.17, -1.01, -0.15)), _STEEL),
                ),
            ),
        ),
    )


def _robot(hand: Vector) -> Object:
    return Object(
        "robot",
        (
            _head(),
            _torso(),
            _leg("left_leg", -1),
            _leg("right_leg", 1),
            _arm("left_arm", (-0.5, 0.0, 1.1), (-0.8, -0.1, 1.2), (-0.9, -0.2, 1.62)),
            _arm("right_arm", (0.5, 0.0, 1.1), (0.72, -0.1, 0.86), hand),
        ),
    )


def _head() -> Group:
    skull = box(0.36, 0.28, 0.25, 0.13).at(0, 0, 1.62)
    socket = cylinder(0.115, 0.03, 0.012).turned("x", 90)
    lens = ellipsoid(0.085, 0.05, 0.085)
    gaze = masked(plain("#ffc24a"), plain("#3a1d08"), disc(0, 0, 0.036))
    gaze = masked(gaze, plain("#fff6d8"), disc(-0.02, 0.028, 0.012))
    grille = masked(plain("#2c3038"), plain("#d9dde0"), stripes("x", 0.036, 0.45, 0.12))
    spring = union(*(torus(0.045, 0.014).at(0, 0, 1.885 + 0.03 * k) for k in range(3)))
    return Group(
        "head",
        (
            Part("skull", skull, _TEAL),
            Part("face", box(0.29, 0.05, 0.185, 0.05).at(0, -0.255, 1.63), _CREAM),
            Part("left_socket", socket.at(-0.13, -0.305, 1.68), _BRASS),
            Part("right_socket", socket.at(0.13, -0.305, 1.68), _BRASS),
            Part("left_eye", lens.at(-0.13, -0.325, 1.68), Material(gaze, 0.1, 0.06, glow=0.35)),
            Part("right_eye", lens.at(0.13, -0.325, 1.68), Material(gaze, 0.1, 0.06, glow=0.35)),
            Part("mouth", box(0.13, 0.015, 0.035, 0.012).at(0, -0.305, 1.52), Material(grille, 0.35, 0.2)),
            Part("left_ear", _ear().at(-0.4, 0, 1.63), _ORANGE),
            Part("right_ear", _ear().at(0.4, 0, 1.63), _ORANGE),
            Part("spring", spring, _STEEL),
            Part("antenna", capsule((0, 0, 1.88), (0, 0, 2.06), 0.014), _STEEL),
            Part("bulb", sphere(0.065).at(0, 0, 2.09), Material(plain("#e8332a"), 0.12, 0.06, glow=0.3)),
        ),
    )


def _ear() -> Shape:
    return cylinder(0.11, 0.045, 0.02).turned("y", 90) | cylinder(0.05, 0.085, 0.02).turned("y", 90)


def _torso() -> Group:
    gauge = masked(plain("#f6eedc"), plain("#22242a"), gores(12, 0.22, 0.03))
    dial = masked(gauge, plain("#f6eedc"), lambda p: (p[0] ** 2 + p[1] ** 2 < 0.055**2).to(p[0]))
    needle = box(0.009, 0.05, 0.006, 0.003).at(0, 0.025, 0.02).turned("z", -40)
    front = -0.335
    enamel = masked(_TEAL.texture, _CREAM.texture, bands("z", [(-0.3, -0.23)], 0.003))
    buttons = [
        Part(f"button_{color}", sphere(0.038).at(x, front - 0.01, 0.83), paint(value, 0.15, 0.06))
        for color, x, value in (
            ("red", -0.13, "#d93a2f"),
            ("yellow", -0.02, "#f0bb2d"),
            ("blue", 0.09, "#2f6fd0"),
        )
    ]
    face = cylinder(0.1, 0.02, 0.008)
    return Group(
        "torso",
        (
            Part("shell", box(0.43, 0.3, 0.36, 0.12).at(0, 0, 0.92), Material(enamel, 0.28, 0.05)),
            Part("panel", box(0.27, 0.025, 0.2, 0.02).at(0, -0.305, 0.95), _CREAM),
            Part("bezel", torus(0.105, 0.02).turned("x", 90).at(0.1, front, 1.02), _BRASS),
            Part("dial", face.turned("x", 90).at(0.1, front, 1.02), Material(dial, 0.2, 0.05)),
            Part("needle", needle.turned("x", 90).at(0.1, front, 1.02), paint("#d93a2f")),
            Part(
                "lamp",
                ellipsoid(0.07, 0.03, 0.07).at(-0.13, front, 1.02),
                Material(plain("#58d66a"), 0.12, 0.06, 0.0, 0.4),
            ),
            *buttons,
            Part("vents", repeated(box(0.2, 0.02, 0.016, 0.012), "z", 0.07, 5).at(0, 0.3, 0.98), _STEEL),
            Part("key", _key(), _BRASS),
            Part("neck", repeated(torus(0.12, 0.028), "z", 0.045, 3).at(0, 0, 1.325), _RUBBER),
            Part("collar", cylinder(0.19, 0.025, 0.012).at(0, 0, 1.275), _BRASS),
            Part("rivets", mirrored(repeated(sphere(0.022), "z", 0.14, 4).at(0.37, -0.275, 0.94)), _BRASS),
        ),
    )


def _key() -> Shape:
    shaft = capsule((0, 0.28, 0.78), (0, 0.5, 0.78), 0.025)
    ring = torus(0.085, 0.024)
    return smooth_union(0.03, shaft, ring.turned("y", 90).at(0, 0.57, 0.865), ring.turned("y", 90).at(0, 0.57, 0.695))


def _leg(name: str, side: int) -> Group:
    x = 0.22 * side
    bellows = repeated(torus(0.075, 0.035), "z", 0.055, 6).at(x, 0, 0.36)
    boot = smooth_union(0.08, box(0.15, 0.2, 0.075, 0.06).at(x, -0.07, 0.08), cylinder(0.13, 0.1, 0.04).at(x, 0, 0.14))
    return Group(
        name,
        (
            Part("hip", sphere(0.125).at(x, 0, 0.56), _STEEL),
            Part("bellows", bellows, _RUBBER),
            Part("cuff", torus(0.115, 0.026).at(x, 0, 0.225), _BRASS),
            Part("boot", boot, _ORANGE),
            Part("sole", box(0.165, 0.215, 0.028, 0.02).at(x, -0.07, 0.028), _RUBBER),
        ),
    )


def _arm(name: str, shoulder: Vector, elbow: Vector, wrist: Vector) -> Group:
    raised = wrist[2] > shoulder[2]
    claw = arc(0.085, 0.03, 130).turned("x", 90).turned("y", 90) if raised else arc(0.085, 0.03, 135).turned("z", 90)
    offset = (0.0, 0.0, 0.12) if raised else (0.0, -0.1, 0.0)
    x, y, z = (w + o for w, o in zip(wrist, offset, strict=True))
    return Group(
        name,
        (
            Part("shoulder", sphere(0.13).at(*shoulder), _BRASS),
            Part("upper_arm", capsule(shoulder, elbow, 0.062), _RUBBER),
            Part("elbow", sphere(0.088).at(*elbow), _STEEL),
            Part("forearm", capsule(elbow, wrist, 0.07, 0.1), _TEAL),
            Part("cuff", sphere(0.112).at(*wrist), _ORANGE),
            Part("claw", claw.at(x, y, z), _STEEL),
        ),
    )


def _flower(hand: Vector) -> Object:
    x, y, z = hand[0], hand[1] - 0.1, hand[2]
    stem = bent(capsule((-0.25, 0, 0), (0.25, 0, 0), 0.016), 0.5).turned("y", -90).at(x + 0.01, y, z + 0.36)
    petal = ellipsoid(0.085, 0.042, 0.02).turned("y", -18).at(0.115, 0, 0.02)
    petals = Material(shaded(mottled("#f28fb1", "#e2557f", 9.0), 30.0, 0.1), 0.5)
    leaf = Material(masked(plain("#4f9b3a"), plain("#2f6f28"), stripes("x", 0.04, 0.4, 0.2)), 0.5)
    bloom = (x, y, z + 0.62)
    return Object(
        "flower",
        (
            Group(
                "pot",
                (
                    Part("bowl", cone(0.055, 0.085, 0.09).at(x, y, z + 0.02), _TERRACOTTA),
                    Part("rim", torus(0.088, 0.02).at(x, y, z + 0.11), _TERRACOTTA),
                    Part(
                        "soil",
                        cylinder(0.078, 0.01).at(x, y, z + 0.108),
                        Material(mottled("#4a3020", "#25170e", 40.0), 0.9),
                    ),
                ),
            ),
            Group(
                "plant",
                (
                    Part("stem", stem, leaf),
                    Part(
                        "leaves",
                        mirrored(ellipsoid(0.1, 0.045, 0.014).turned("y", -28).at(0.1, 0, 0)).at(x, y, z + 0.3),
                        leaf,
                    ),
                ),
            ),
            Group(
                "blossom",
                (
                    Part("petals", around(petal, 8).turned("x", 35).at(*bloom), petals),
                    Part(
                        "heart",
                        ellipsoid(0.06, 0.06, 0.04).turned("x", 35).at(*bloom),
                        Material(masked(plain("#f2b92c"), plain("#8a5312"), dots(0.03, 0.008)), 0.6),
                    ),
                ),
            ),
        ),
    )
