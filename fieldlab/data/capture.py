"""From a folder of photographs to a scene: structure from motion with pycolmap.

The steps are features, matching, mapping and undistortion. Each is remembered in the output folder, so that a run
that was interrupted goes on where it stopped; the finished scene (``images`` and ``sparse/0``) appears only at the
end, whole.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fieldlab.data.images import IMAGE_SUFFIXES, image_size
from fieldlab.errors import ConfigError, DataError
from fieldlab.files import write_json, write_text

WORK_FOLDER = "capture"
SEQUENTIAL_FROM = 200  # photographs; from here on every pair would take too long
MIN_PHOTOS = 3
FEW = 0.8  # share of registered photographs below which advice is given
POLL_SECONDS = 0.3
FEATURE_BATCH = 16  # photographs
MATCH_BATCH = 60  # pairs
SEQUENTIAL_OVERLAP = 10
# The first is the usual one: with more to estimate from the first two photographs mapping goes astray where the focal
# length that the file tells is wrong (2 of 66 photographs placed in place of all, where it was twice the true one).
CAMERA_MODELS = ("SIMPLE_RADIAL", "SIMPLE_PINHOLE", "PINHOLE", "RADIAL", "OPENCV", "OPENCV_FISHEYE")
_OTHER = (".heic", ".heif", ".dng", ".mp4", ".mov")  # what people have too, and must convert
MATCHERS = ("auto", "exhaustive", "sequential")
ADVICE = (
    "take more photographs with at least 70 % overlap, walk around the subject rather than turn on the spot, "
    "avoid blur, mirrors and blank walls, and keep zoom and exposure fixed"
)

Progress = Callable[[str, int, int], None]
"""Called with the step ('features', 'matching', 'mapping', 'undistortion'), how much is done, and of how much."""


@dataclass
class CaptureReport:
    """What came out of a capture.

    Args:
        scene: the folder to load as a scene.
        registered, total: photographs with a pose, and all.
        points: sparse points.
        error: mean reprojection error in pixels.
        missing: names of photographs without a pose.
        notes: what a person should know, with advice when few photographs registered.
    """

    scene: Path
    registered: int
    total: int
    points: int
    error: float
    missing: list[str]
    notes: list[str] = field(default_factory=list)


def run_capture(
    photos: str | Path,
    out: str | Path,
    *,
    camera_model: str = CAMERA_MODELS[0],
    matcher: str = "auto",
    single_camera: bool = True,
    max_features: int = 8192,
    seed: int = 0,
    progress: Progress | None = None,
) -> CaptureReport:
    """Estimate the poses of photographs and write a COLMAP scene of undistorted pictures.

    Args:
        photos: a folder of photographs, also in folders beneath it.
        out: the folder of the new scene; when it holds an unfinished capture of the same photographs with the same
            settings, that is finished.
        camera_model: the lens model to estimate, one of :data:`CAMERA_MODELS`; more than one value of distortion needs
            many photographs and a focal length that is nearly right.
        matcher: 'exhaustive' compares every pair, 'sequential' neighbors in order of name (video), 'auto' chooses.
        single_camera: all photographs were taken with one camera at one zoom; given up when their sizes differ.
        max_features: features per photograph.
        seed: makes mapping repeatable.
        progress: called from time to time.

    Raises:
        DataError: too few photographs, or no two of them could be placed.
        ConfigError: an option is not known.
        RunFolderError: ``out`` cannot be written.
    """
    photos, out = Path(photos), Path(out)
    _check_choice("camera_model", camera_model, CAMERA_MODELS)
    _check_choice("matcher", matcher, MATCHERS)
    names, sizes = find_photos(photos)
    unfinished = (out / WORK_FOLDER / "state.json").is_file()
    if (out / "sparse").exists() or ((out / "images").exists() and not unfinished):
        raise DataError(
            "the output folder holds a scene already", file=out, expected="a new folder", hint="choose another folder"
        )
    notes = []
    if single_camera and len(set(sizes)) > 1:
        single_camera = False
        notes.append(f"the photographs come in {len(set(sizes))} sizes, so each got a camera of its own")
    if matcher == "auto":
        matcher = "exhaustive" if len(names) < SEQUENTIAL_FROM else "sequential"
    settings = {
        "photos": str(photos.resolve()),
        "names": names,
        "camera_model": camera_model,
        "matcher": matcher,
        "single_camera": single_camera,
        "max_features": max_features,
        "seed": seed,
    }
    run = _Run(photos, out / WORK_FOLDER, settings, progress or (lambda step, done, total: None))
    run.resume()
    with _quiet_pycolmap():
        run.features()
        run.matching()
        model_folder, model = run.mapping()
        run.undistortion(model_folder)
    report = _report(out, names, model, notes)
    _publish(run.work / "undistorted", out)
    shutil.rmtree(run.work, ignore_errors=True)
    return report


def find_photos(photos: Path) -> tuple[list[str], list[tuple[int, int]]]:
    """Names relative to the folder, sorted, and sizes of all photographs in it.

    Raises:
        DataError: there is no such folder, there are too few photographs, or one is damaged.
    """
    if not photos.is_dir():
        raise DataError("the folder of photographs is missing", file=photos, expected="a folder")
    files = sorted(path for path in photos.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    files = [path for path in files if not any(part.startswith(".") for part in path.relative_to(photos).parts)]
    if len(files) < MIN_PHOTOS:
        others = {path.suffix.lower() for path in photos.rglob("*") if path.suffix.lower() in _OTHER}
        raise DataError(
            "there are too few photographs",
            file=photos,
            found=f"{len(files)} pictures ({', '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)})",
            expected=f"at least {MIN_PHOTOS}, better 30 or more",
            hint=f"convert {', '.join(sorted(others))} files to JPEG first" if others else ADVICE,
        )
    sizes = [image_size(path)[:2] for path in files]
    return [path.relative_to(photos).as_posix() for path in files], sizes


def image_pairs(names: list[str], matcher: str) -> list[tuple[str, str]]:
    """The pairs to match: all of them, or each photograph with the next ten and those 16, 32, 64, ... further on.

    The powers of two let a video that comes back to a place find it again at moderate cost.
    """
    count = len(names)
    if matcher == "exhaustive":
        return [(names[i], names[j]) for i in range(count) for j in range(i + 1, count)]
    steps = list(range(1, SEQUENTIAL_OVERLAP + 1))
    while 2 * max(steps[-1], 8) < count:
        steps.append(2 ** (max(steps[-1], 8).bit_length()))
    return [(names[i], names[i + step]) for i in range(count) for step in steps if i + step < count]


class _Run:
    """The steps of one capture in its working folder."""

    def __init__(self, photos: Path, work: Path, settings: dict[str, Any], progress: Progress) -> None:
        self.photos, self.work, self.settings, self.progress = photos, work, settings, progress
        self.database = work / "database.db"
        self.state_file = work / "state.json"
        self.done: list[str] = []

    def resume(self) -> None:
        """Take up an unfinished capture with the same settings, else begin anew."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads(self.state_file.read_text(encoding="utf-8"))
            if state["settings"] == self.settings:
                self.done = list(state["done"])
                return
        shutil.rmtree(self.work, ignore_errors=True)
        self._remember()

    def features(self) -> None:
        import pycolmap

        mode = pycolmap.CameraMode.SINGLE if self.settings["single_camera"] else pycolmap.CameraMode.PER_IMAGE
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = self.settings["camera_model"]
        extraction = pycolmap.FeatureExtractionOptions()
        extraction.sift.max_num_features = self.settings["max_features"]

        def extract(names: list[str], token: Any) -> None:
            if self.settings["single_camera"] and self.database.is_file():
                # Later batches belong to the camera of the first one.
                with contextlib.closing(pycolmap.Database.open(self.database)) as database:
                    cameras = database.read_all_cameras()
                reader.existing_camera_id = cameras[0].camera_id if cameras else -1
            pycolmap.extract_features(
                self.database,
                self.photos,
                image_names=names,
                camera_mode=mode,
                reader_options=reader,
                extraction_options=extraction,
                cancellation_token=token,
            )

        self._in_batches("features", self.settings["names"], FEATURE_BATCH, extract)

    def matching(self) -> None:
        import pycolmap

        names, matcher = self.settings["names"], self.settings["matcher"]
        if any(len(name.split()) != 1 for name in names):
            # A list of pairs separates names by spaces, so these are matched in one go.
            whole: Callable[..., None] = (
                pycolmap.match_exhaustive if matcher == "exhaustive" else pycolmap.match_sequential
            )
            self._in_batches(
                "matching", names, len(names), lambda _, token: whole(self.database, cancellation_token=token)
            )
            return
        pairs = image_pairs(names, matcher)
        pairing = pycolmap.ImportedPairingOptions()
        pairing.match_list_path = self.work / "pairs.txt"

        def match(batch: list[tuple[str, str]], token: Any) -> None:
            write_text(pairing.match_list_path, "".join(f"{first} {second}\n" for first, second in batch))
            pycolmap.match_image_pairs(self.database, pairing_options=pairing, cancellation_token=token)

        self._in_batches("matching", pairs, max(MATCH_BATCH, len(pairs) // 100), match)

    def mapping(self) -> tuple[Path, Any]:
        """The model with the most photographs and its folder."""
        import pycolmap

        sparse = self.work / "sparse"
        options = pycolmap.IncrementalPipelineOptions()
        options.random_seed = self.settings["seed"]
        options.min_model_size = MIN_PHOTOS
        placed = [2]  # the first pair comes without a call

        def count() -> None:
            placed[0] += 1

        with self._step("mapping", len(self.settings["names"])) as run:
            shutil.rmtree(sparse, ignore_errors=True)
            sparse.mkdir(parents=True)
            run(
                lambda token: pycolmap.incremental_mapping(
                    self.database,
                    self.photos,
                    sparse,
                    options=options,
                    next_image_callback=count,
                    cancellation_token=token,
                ),
                lambda: placed[0],
            )
        models = {
            folder: pycolmap.Reconstruction(str(folder)) for folder in sorted(sparse.iterdir()) if folder.is_dir()
        }
        if not models:
            self._forget("mapping")
            raise DataError(
                "no photographs could be placed",
                file=self.photos,
                found=f"0 of {len(self.settings['names'])} registered",
                expected="photographs that overlap",
                hint=ADVICE + ("; try the matcher exhaustive" if self.settings["matcher"] != "exhaustive" else ""),
            )
        folder = max(models, key=lambda key: models[key].num_reg_images())
        return folder, models[folder]

    def undistortion(self, model: Path) -> None:
        import pycolmap

        target = self.work / "undistorted"
        with self._step("undistortion", len(self.settings["names"])) as run:
            shutil.rmtree(target, ignore_errors=True)
            run(
                lambda token: pycolmap.undistort_images(target, model, self.photos, cancellation_token=token),
                lambda: sum(path.is_file() for path in (target / "images").rglob("*")),
            )

    def _in_batches(self, step: str, items: list[Any], size: int, work: Callable[[list[Any], Any], None]) -> None:
        """A step in parts, so that there is something to tell and to go on from. What was done already costs little.

        The database is asked only between the parts: a second SQLite in the same process must not touch it meanwhile.
        """
        with self._step(step, len(items)) as run:
            for start in range(0, len(items), size):
                batch = items[start : start + size]
                run(functools.partial(work, batch), functools.partial(int, start))

    @contextlib.contextmanager
    def _step(self, step: str, total: int) -> Iterator[Callable[[Callable[[Any], Any], Callable[[], int]], None]]:
        """Hand out a function that runs work with progress; a step that was done is not run again."""
        if step in self.done:
            self.progress(step, total, total)
            yield lambda work, amount: None
            return

        def run(work: Callable[[Any], Any], amount: Callable[[], int]) -> None:
            _run_cancellable(work, lambda: self.progress(step, min(amount(), total), total))

        self.progress(step, 0, total)
        yield run
        self.done.append(step)
        self._remember()
        self.progress(step, total, total)

    def _remember(self) -> None:
        write_json(self.state_file, {"settings": self.settings, "done": self.done})

    def _forget(self, step: str) -> None:
        self.done.remove(step)
        self._remember()


def _run_cancellable(work: Callable[[Any], Any], tick: Callable[[], None]) -> None:
    """Run ``work(token)`` in a thread, calling ``tick`` meanwhile; an exception here (Ctrl-C) cancels it first."""
    import pycolmap

    token = pycolmap.CancellationToken()
    failure: list[BaseException] = []

    def target() -> None:
        try:
            work(token)
        except BaseException as error:  # noqa: BLE001 (raised again by the caller)
            failure.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL_SECONDS)
            tick()
    except BaseException:
        token.cancel()
        thread.join()
        raise
    if failure:
        raise DataError(
            "structure from motion failed",
            found=" ".join(str(failure[0]).split())[:300] or type(failure[0]).__name__,
            hint="check that every photograph opens, then run the command again",
        ) from failure[0]


@contextlib.contextmanager
def _quiet_pycolmap() -> Iterator[None]:
    """Only errors of pycolmap's own log, since progress is told to the caller."""
    import pycolmap

    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = int(pycolmap.logging.Level.FATAL.value)
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before


def _report(out: Path, names: list[str], model: Any, notes: list[str]) -> CaptureReport:
    registered = {image.name for image in model.images.values() if image.has_pose}
    missing = [name for name in names if name not in registered]
    share = len(registered) / len(names)
    if share < FEW:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        notes.append(f"only {len(registered)} of {len(names)} photographs could be placed (not {shown}): {ADVICE}")
    error = float(model.compute_mean_reprojection_error())
    return CaptureReport(
        scene=out,
        registered=len(registered),
        total=len(names),
        points=int(model.num_points3D()),
        error=error if math.isfinite(error) else 0.0,
        missing=missing,
        notes=notes,
    )


def _publish(undistorted: Path, out: Path) -> None:
    """Move the finished scene to its place: pictures first, the model that makes it a scene last."""
    ready = out / WORK_FOLDER / "ready"
    ready.mkdir(exist_ok=True)
    # Each may have been moved before an interruption.
    for source, target in ((undistorted / "images", out / "images"), (undistorted / "sparse", ready / "0")):
        if source.exists():
            source.rename(target)
    ready.rename(out / "sparse")


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError("an option is not known", field=name, found=value, expected=", ".join(allowed))
