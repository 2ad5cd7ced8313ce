"""The benchmark command runs as a whole and writes what it measured, also when another program fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fieldlab.apps.main import main
from fieldlab.bench import everything
from fieldlab.bench.browser import browser_path
from fieldlab.bench.measure import Row
from fieldlab.bench.record import NotMeasured, Record, beside, line
from fieldlab.errors import BackendError


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A scene of a few small photographs."""
    scene = tmp_path_factory.mktemp("scenes") / "small.toml"
    scene.write_text('name = "small"\n[procedural]\nscene = "robot"\nn_train = 10\nn_test = 1\nsize = 32\n')
    return scene


def rows_of(out: Path) -> list[dict]:
    found = json.loads(out.read_text())
    assert found["not_measured"] == []
    return found["rows"]


def test_ratios_say_how_many_times_better():
    assert Row("a", "b", 6.0, "M/s", 2.0).ratio == 3.0
    assert Row("a", "b", 2.0, "ms", 6.0).ratio == 3.0
    assert Row("a", "b", 2.0, "dB").ratio is None


def test_the_file_is_whole_after_every_figure(tmp_path, monkeypatch, capsys):
    out, seen = tmp_path / "bench.json", []

    def figures(plan, what):
        for i in range(3):
            seen.append(rows_of(out))
            yield Row("operations", f"row {i}", 1.0, "ms")
        raise BackendError("the machine is on fire")

    monkeypatch.setattr(everything.Plan, "figures", figures)
    assert main(["bench", "--json", str(out)]) == 1
    assert "the machine is on fire" in capsys.readouterr().err
    assert [[row["name"] for row in rows] for rows in seen] == [[], ["row 0"], ["row 0", "row 1"]]
    assert [row["name"] for row in rows_of(out)] == ["row 0", "row 1", "row 2"]
    assert json.loads(out.read_text())["scene"] == "robot"


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(everything.Plan, "figures", lambda plan, what: pytest.fail("measured"))
    (tmp_path / "file").write_text("")
    assert main(["bench", "--json", str(tmp_path / "file" / "bench.json")]) == 1
    assert "could not be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("\nError building extension 'nerfacc_cuda': ninja\nmore"),
         "RuntimeError: Error building extension 'nerfacc_cuda': ninja"),
        (AttributeError("'NoneType' object has no attribute 'ray_aabb_intersect'"),
         "AttributeError: 'NoneType' object has no attribute 'ray_aabb_intersect'"),
        (ModuleNotFoundError("No module named 'tinycudann'"), "ModuleNotFoundError: No module named 'tinycudann'"),
        (BackendError("nerfacc is not installed", hint="pip"), "nerfacc is not installed"),
        (OSError(), "OSError"),
    ],
)  # fmt: skip
def test_a_program_that_does_not_compile_is_named_and_the_rest_goes_on(tmp_path, error, said):
    def fails() -> Row:
        raise error

    record = Record({"scene": "robot"}, tmp_path / "bench.json")
    for figure in (*beside("operations", "marching", "nerfacc", fails), Row("operations", "next", 1.0, "ms")):
        record.add(figure)
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["not_measured"] == [
        {"group": "operations", "name": "marching", "against": "nerfacc", "error": said}
    ]  # fmt: skip
    assert [row["name"] for row in found["rows"]] == ["next"]
    printed = line(record.figures[0])
    assert "nerfacc" in printed
    assert said in printed


def test_an_interruption_is_no_failure_of_another_program():
    def interrupted() -> Row:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(beside("operations", "marching", "nerfacc", interrupted))


@pytest.mark.slow
def test_the_other_programs_of_a_whole_step_are_left_out_by_name(small, monkeypatch):
    """On a CPU neither can work, whatever is installed."""
    from fieldlab.bench.whole import _other_rows, make_trainer
    from fieldlab.sources.load import load_scene
    from fieldlab.training.config import TrainConfig

    settings = TrainConfig(steps=100, samples_per_step=256)
    trainer = make_trainer(load_scene(str(small)), torch.device("cpu"), settings)
    found = list(_other_rows(trainer, 1e6))
    assert all(isinstance(figure, NotMeasured) for figure in found)
    assert [figure.against for figure in found] == ["nerfacc marching", "tiny-cuda-nn"]
    trainer.step()  # goes on with fieldlab's own


@pytest.mark.slow
def test_distillation_is_measured_against_training(small, tmp_path):
    out = tmp_path / "bench.json"
    command = ["bench", "--only", "distillation", "--scene", str(small), "--quick", "--json", str(out)]
    assert main(command) == 0
    rows = rows_of(out)
    assert {row["group"] for row in rows} == {"distillation"}
    assert [row["unit"] for row in rows] == ["ms"] * 2 + ["dB"] * 5
    assert all(row["value"] > 0 and row["reference"] > 0 for row in rows)


@pytest.mark.slow
def test_everything_is_measured(small, tmp_path, capsys):
    out = tmp_path / "bench.json"
    assert main(["bench", "--scene", str(small), "--quick", "--log2-table", "12", "--json", str(out)]) == 0
    rows = rows_of(out)
    assert {row["group"] for row in rows} == {"operations", "training", "quality", "pictures"}
    assert all(row["value"] > 0 for row in rows)
    measured = " ".join(row["name"] for row in rows if row["group"] == "operations")
    for operation in ("hash", "vm", "cp", "sparse", "harmonic", "kernels", "frequencies", "perceptron", "marching"):
        assert operation in measured
    assert "64x64 frame" in capsys.readouterr().out


@pytest.mark.slow
def test_the_viewer_is_measured_with_real_clients(trained, tmp_path):
    out = tmp_path / "bench.json"
    assert main(["bench", "--viewer", "--run", str(trained), "--quick", "--json", str(out)]) == 0
    rows = rows_of(out)
    assert {row["group"] for row in rows} == {"viewer"}
    assert len(rows) == 6 + (browser_path() is not None)
    assert all(row["value"] > 0 for row in rows)


@pytest.mark.slow
def test_without_a_run_the_viewer_shows_one_that_is_trained(small, monkeypatch):
    monkeypatch.setattr(everything, "viewer_rows", lambda run, quick: iter([(run.name, run.model.field.kind, quick)]))
    plan = everything.Plan(str(small), (1.0,), torch.device("cpu"), 12, quick=True)
    assert list(plan.viewer_figures(None)) == [("small", "hashgrid", True)]


def test_a_run_is_measured_by_the_viewer_only(tmp_path, capsys):
    assert main(["bench", "--run", str(tmp_path)]) == 1
    assert "with --viewer only" in capsys.readouterr().err
