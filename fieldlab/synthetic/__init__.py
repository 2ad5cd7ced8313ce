"""Procedural scenes: made by formulas, rendered by this package, known exactly.

They need no data, so they are the default, the demo and the test bed. `shapes` and `textures` are the building blocks,
`model` says what a scene consists of, `catalog` describes the scenes, `trace`, `shade` and `render` make pictures, and
`load`, `solid`, `segmenter` and `write` hand out what others ask for.
"""

from fieldlab.data.look_at import look_at
from fieldlab.synthetic.cameras import orbit_cameras, ring_cameras
from fieldlab.synthetic.load import (
    Truth,
    default_options,
    ground_truth,
    ground_truths,
    load_procedural,
    part_names,
    procedural_cameras,
    render_procedural,
    scene_model,
    scene_names,
)
from fieldlab.synthetic.model import LEVELS, PartTree
from fieldlab.synthetic.rle import decode_rle, encode_rle
from fieldlab.synthetic.scene_file import ProceduralOptions, read_scene_file
from fieldlab.synthetic.segmenter import SegmenterOptions, simulate_masks
from fieldlab.synthetic.solid import ground_truth_sdf, true_mesh
from fieldlab.synthetic.write import write_dataset

__all__ = [
    "LEVELS",
    "PartTree",
    "ProceduralOptions",
    "SegmenterOptions",
    "Truth",
    "decode_rle",
    "default_options",
    "encode_rle",
    "ground_truth",
    "ground_truth_sdf",
    "ground_truths",
    "load_procedural",
    "look_at",
    "orbit_cameras",
    "part_names",
    "procedural_cameras",
    "read_scene_file",
    "render_procedural",
    "ring_cameras",
    "scene_model",
    "scene_names",
    "simulate_masks",
    "true_mesh",
    "write_dataset",
]
