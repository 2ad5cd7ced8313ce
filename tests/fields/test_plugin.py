"""A field of another package: the example of docs/plugins.md, installed beside fieldlab."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fieldlab import plugins
from fieldlab.apps.main import main
from fieldlab.data.options import SceneOptions
from fieldlab.errors import BackendError, ConfigError
from fieldlab.fields import registry
from fieldlab.fields.kinds import FIELDS, kinds, kinds_that
from fieldlab.fields.registry import build_field, config_named, config_type
from fieldlab.runs.config import RunConfig
from fieldlab.runs.folder import RunFolder
from fieldlab.runs.load import load_run
from fieldlab.runs.scene_record import SceneRecord
from fieldlab.runs.session import Session
from fieldlab.runs.values import tomllib
from tests.fields.test_every_field import trainer_of
from tests.scenes import ball_scene

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples" / "plugin_triplane"


def forget() -> None:
    """What is installed is looked up once for all."""
    plugins.entries.cache_clear()
    registry.field_type.cache_clear()
    importlib.invalidate_caches()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts packages on the path as pip does: their modules, and entry points from their pyproject.toml."""
    site = tmp_path / "site-packages"
    site.mkdir()

    def put(project: dict, modules: dict[str, str]) -> None:
        name, version = project["name"], project["version"]
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        groups = project["entry-points"].items()
        lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in found.items()) for group, found in groups]
        (info / "entry_points.txt").write_text("\n".join(lines))
        for file, text in modules.items():
            (site / file).write_text(text)
        forget()

    monkeypatch.syspath_prepend(site)
    yield put
    monkeypatch.undo()
    forget()
    sys.modules.pop("fieldlab_triplane", None)


def package(name: str, **entries: str) -> dict:
    return {"name": name, "version": "1.2", "entry-points": {FIELDS: entries}}


@pytest.fixture
def triplane(install):
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    modules = project["tool"]["setuptools"]["py-modules"]
    install(project["project"], {f"{m}.py": (EXAMPLE / f"{m}.py").read_text() for m in modules})


def test_the_example_is_a_field_like_any_other(triplane, capsys):
    assert kinds()[-1] == "triplane"
    config = config_named("triplane").fitted_to(60_000)
    assert 50_000 < config.size().trainable <= 60_000
    field = build_field(config, 2.0, torch.Generator().manual_seed(0))
    assert field.n_parameters == config.size().trainable
    x = torch.rand(9, 3, dtype=torch.float32).requires_grad_()
    log_density, _ = field.geometry(x)
    log_density.sum().backward()
    assert x.grad.abs().max() > 0
    assert build_field(config_named("triplane+vm").fitted_to(90_000), 1.0).n_parameters <= 90_000
    with pytest.raises(ConfigError, match="smallest triplane"):
        config_named("triplane").fitted_to(10)
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "hashgrid, vm, cp, voxel, neurbf, mlp or triplane" in " ".join(
        capsys.readouterr().out.replace("│", " ").split()
    )


@pytest.mark.slow
def test_a_run_of_the_example_learns_opens_and_renders(triplane, tmp_path):
    scene, trainer = ball_scene(n=16), trainer_of("triplane", steps=60)
    config = RunConfig("trained", "ball", trainer.model.field.config, (trainer.config, SceneOptions()))
    run = RunFolder.create(tmp_path / "run", config)
    with run.locked():
        session = Session(run, config, trainer, scene=SceneRecord.of(scene))
        losses = [event.loss for event in session.events()]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    registry.field_type.cache_clear()  # the run alone says what it needs
    model, info = load_run(tmp_path / "run")
    assert (model.field.kind, info.step) == ("triplane", 60)
    cameras = scene.splits["test"].cameras
    shown, trained = (m.render_image(cameras, 0)["rgb"] for m in (model, session.model.eval()))
    assert torch.allclose(shown, trained, atol=1e-5)
    assert float((shown - scene.splits["test"].image(0)[..., :3] / 255).abs().mean()) < 0.2


def test_a_field_that_is_not_installed():
    with pytest.raises(ConfigError, match="needs that package installed"):
        config_type("another")


def test_a_broken_plugin_harms_no_other_field(install):
    install(package("broken", shaky="shaky_fields:Field", absent="no_such_module:Field"),
            {"shaky_fields.py": "raise RuntimeError('no licence')"})  # fmt: skip
    with pytest.raises(BackendError, match=r"(?s)broken 1.2.*no licence"):
        config_named("shaky")
    with pytest.raises(BackendError, match="no_such_module"):
        config_named("absent")
    assert config_named("vm").kind == "vm"
    assert kinds()[-2:] == ["shaky", "absent"]
    assert kinds_that(lambda config: 2 in config.encodes) == "hashgrid | neurbf | mlp"


def test_what_is_no_field_is_refused(install):
    install(package("odd", odd="odd_fields:NotOne", other="odd_fields:Renamed"),
            {"odd_fields.py": "from fieldlab.fields.vm import VMField as Renamed\nNotOne = 7\n"})  # fmt: skip
    with pytest.raises(BackendError, match="not a field"):
        config_named("odd")
    with pytest.raises(BackendError, match="not called what its entry point is"):
        config_named("other")


def test_nothing_replaces_fieldlabs_own_fields(install):
    install(package("usurper", vm="fieldlab_usurper:Field"), {})
    assert config_type("vm").__module__ == "fieldlab.fields.vm"


def test_fieldlabs_own_entry_points_are_those_of_its_source():
    written = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    for group in ("fieldlab.fields", "fieldlab.fields.made"):
        own = {k: e.value for k, e in plugins.entries(group).items() if e.value.startswith("fieldlab.")}
        assert own == written[group]
        for kind in own:
            assert registry.field_type(kind).kind == kind


@pytest.mark.slow
def test_names_are_known_before_anything_is_imported_and_one_kind_imports_one_module():
    code = """
import sys
from fieldlab.fields.kinds import kinds
assert "mlp" in kinds() and "torch" not in sys.modules
from fieldlab.fields.registry import config_named
config_named("voxel")
own = {f"fieldlab.fields.{kind}" for kind in [*kinds(), "hybrid"]} | {"fieldlab.edit.edited"}
assert own & set(sys.modules) == {"fieldlab.fields.voxel"}, own & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
