"""The numbered examples run as they stand, in a new process, in order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
FAST = ("--samples-per-step", "4096")
SMALL = ("--size", "48", "--views", "10", "--steps", "200", *FAST)


def run_example(name: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, EXAMPLES / name, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_train_render_mesh_and_compare(tmp_path):
    run = tmp_path / "run"
    out = run_example("01_train_and_render.py", "--steps", "120", "--size", "48", *FAST, "--out", str(run))
    assert float(out.split("test PSNR ")[1].split()[0]) > 18  # an all-white picture is at about 10
    assert (run / "renders" / "example.png").stat().st_size > 1000
    out = run_example("03_meshes_and_truth.py", str(run), "--resolution", "48")
    assert float(out.split("true surface: ")[1].split()[0]) < 2
    assert (run / "exports" / "example.glb").stat().st_size > 1000
    out = run_example("04_representations.py", str(run), "--params", "150000")
    assert "vm+hashgrid" in out
    at_kernels, anywhere = (float(word) for word in out.split("density ")[-1].replace("at them, ", "").split()[:2])
    assert at_kernels > 2 * anywhere


@pytest.mark.slow
def test_edits_and_their_truth(tmp_path):
    # Smaller ones are too blurred for an edit to be nearer to the truth than no edit.
    size = ["--size", "64", "--views", "16", "--steps", "400", "--samples-per-step", "8192"]
    students = ["--student-steps", "10", "--students", "voxel"]
    out = run_example("05_edit_and_distill.py", *size, *students, "--out", str(tmp_path))
    for name in ("removed", "moved", "duplicated"):
        line = next(line for line in out.splitlines() if line.startswith(name))
        assert "to voxel" in line
        as_it_was, edited = (float(line.split(words)[1].split()[0]) for words in ("left as it was", "edited"))
        assert edited > as_it_was
    assert (tmp_path / "edits.png").stat().st_size > 1000


@pytest.mark.slow
def test_operations():
    out = run_example("02_operations.py")
    assert "fitted" in out
    assert float(out.split("reference: ")[1].split()[0]) < 1e-3


@pytest.mark.slow
def test_parts(tmp_path):
    parts = ["--segment-steps", "300", "--segment-pixels", "1024", "--resolution", "48"]
    out = run_example("06_parts.py", *SMALL, *parts, "--out", str(tmp_path))
    covering = float(out.split("covering: ")[1].split(",")[0])
    assert covering > 0.3
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("parts.png", "without.png", "parts.glb"))
