"""The photographs of a folder: found, told apart by camera, and made such that all of them are read, upright."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from fieldlab.data.images import IMAGE_SUFFIXES, MAX_PIXELS, open_image
from fieldlab.errors import DataError
from fieldlab.files import whole_file

HEIC_SUFFIXES = (".heic", ".heif")
PHOTO_SUFFIXES = (*IMAGE_SUFFIXES, *HEIC_SUFFIXES, ".avif")
MIN_PHOTOS = 3
JPEG_QUALITY = 97
_COLMAP_READS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_LOSSLESS = (".png", ".tif", ".tiff", ".bmp")
_RAW = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf")  # what people have too, and must convert
_ORIENTATION, _MAKE, _MODEL, _EXIF = 0x0112, 0x010F, 0x0110, 0x8769
_SERIAL, _FOCAL, _FOCAL_35MM = 0xA431, 0x920A, 0xA405


@dataclass(frozen=True)
class Photograph:
    """One photograph.

    Args:
        file: where it lies.
        name: what it is called in the scene: its path in the folder without blanks, ``.jpg`` where it is converted.
        size: width and height upright.
        camera: what tells its camera from others: maker, model, focal length and size, as people read it.
        as_is: it can be taken as it is; otherwise it is written anew, upright.
    """

    file: Path
    name: str
    size: tuple[int, int]
    camera: str
    as_is: bool


def find_photographs(folder: Path, without: Path | None = None) -> tuple[list[Photograph], list[str]]:
    """All photographs in ``folder`` and the folders beneath it but ``without``, in order of name, and a note on each
    that cannot be read. Folders and files whose names begin with a dot are left out.

    Raises:
        DataError: there is no such folder, or there are too few photographs.
    """
    if not folder.is_dir():
        found = "a file" if folder.is_file() else "nothing"
        raise DataError(
            "the folder of photographs is missing", file=folder, found=found, expected="a folder, or a video"
        )
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file())
    files = [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    files = [path for path in files if without is None or without.resolve() not in path.resolve().parents]
    photographs: list[Photograph] = []
    unreadable: list[str] = []
    taken: set[str] = set()
    for path in files:
        try:
            photograph = _look_at(path, path.relative_to(folder).as_posix(), taken)
        except DataError as error:
            unreadable.append(f"{path.relative_to(folder).as_posix()} is left out: {error.what}")
            continue
        taken.add(photograph.name)
        photographs.append(photograph)
    if len(photographs) < MIN_PHOTOS:
        raise _too_few(folder, len(photographs), unreadable)
    return photographs, unreadable


def cameras_of(photographs: list[Photograph]) -> dict[str, int]:
    """How many photographs each camera took, the busiest first."""
    return dict(Counter(photograph.camera for photograph in photographs).most_common())


def prepare_photographs(photographs: list[Photograph], folder: Path, tick: Callable[[int], None]) -> None:
    """Bring all of them together in ``folder`` under their names: links, or upright pictures where one has to be
    written. What is there already stays, so that an interrupted call goes on; ``tick`` is told how many are ready.

    Raises:
        DataError: a photograph is damaged.
    """
    for i, photograph in enumerate(photographs):
        tick(i)
        target = folder / photograph.name
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if photograph.as_is:
            _link(photograph.file, target)
        else:
            _write_upright(photograph.file, target)


def _look_at(path: Path, name: str, taken: set[str]) -> Photograph:
    with _open(path) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise DataError("the picture is too large", file=path, found=f"{width}x{height}")
        exif = _exif(image)
    orientation = exif.get(_ORIENTATION, 1)
    if isinstance(orientation, int) and orientation in (5, 6, 7, 8):
        width, height = height, width
    suffix = path.suffix.lower()
    as_is = suffix in _COLMAP_READS and orientation not in range(2, 9)
    stem, end = os.path.splitext("_".join(name.split()))
    end = end if as_is else ".png" if suffix in _LOSSLESS else ".jpg"
    unique, count = stem + end, 1
    while unique in taken:
        count += 1
        unique = f"{stem}_{count}{end}"
    return Photograph(path, unique, (width, height), f"{_camera(exif)}{width}x{height}", as_is)


def _camera(exif: Image.Exif) -> str:
    """Maker, model and focal length where the file tells them."""
    inner = exif.get_ifd(_EXIF)
    parts = [str(exif.get(key, "")).strip("\0 ") for key in (_MAKE, _MODEL)] + [str(inner.get(_SERIAL, "")).strip()]
    for key, unit in ((_FOCAL, "mm"), (_FOCAL_35MM, "mm in 35 mm film")):
        try:
            parts.append(f"{float(inner[key]):g} {unit}")
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            continue
    return "".join(f"{part}, " for part in parts if part)


def _exif(image: Image.Image) -> Image.Exif:
    """What the camera noted; nothing where that is damaged, which is no reason to leave the photograph out."""
    try:
        exif = image.getexif()
        exif.get_ifd(_EXIF)
    except Exception:  # noqa: BLE001 (Pillow raises many kinds for damaged notes)
        return Image.Exif()
    return exif


def _open(path: Path) -> Image.Image:
    if path.suffix.lower() in HEIC_SUFFIXES:
        import pillow_heif  # few captures have such files

        pillow_heif.register_heif_opener()
    return open_image(path)


def _link(file: Path, target: Path) -> None:
    """A symbolic link, or a copy where the file system has none."""
    try:
        target.symlink_to(file.resolve())
    except OSError:
        with whole_file(target) as temporary:
            shutil.copyfile(file, temporary)


def _write_upright(file: Path, target: Path) -> None:
    """The picture turned as its file says; of the notes only what tells the focal length is kept."""
    with _open(file) as image:
        exif, kept = _exif(image), Image.Exif()
        for key in (_MAKE, _MODEL):
            if key in exif:
                kept[key] = exif[key]
        for key in (_FOCAL, _FOCAL_35MM):
            if key in exif.get_ifd(_EXIF):
                kept.get_ifd(_EXIF)[key] = exif.get_ifd(_EXIF)[key]
        try:
            upright = ImageOps.exif_transpose(image)
            if target.suffix == ".jpg" or upright.mode not in ("L", "RGB", "RGBA"):
                upright = upright.convert("RGBA" if target.suffix == ".png" and "A" in upright.mode else "RGB")
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise DataError(
                "a photograph is damaged",
                file=file,
                found=str(error),
                expected="a complete picture",
                hint="copy the file again, or take it out of the folder; then run the command again",
            ) from error
        with whole_file(target) as temporary:
            upright.save(temporary, quality=JPEG_QUALITY, subsampling=0, exif=kept)


def _too_few(folder: Path, count: int, unreadable: list[str]) -> DataError:
    raw = sorted({path.suffix.lower() for path in folder.rglob("*") if path.suffix.lower() in _RAW})
    hint = "take more, 30 to 100 from all sides, each overlapping the next by 70 %"
    if raw:
        hint = f"develop the {', '.join(raw)} files to JPEG first"
    elif unreadable:
        hint = "copy the damaged files from the camera again"
    found = f"{count} ({', '.join(suffix[1:] for suffix in PHOTO_SUFFIXES)})"
    if unreadable:
        found += f", and {len(unreadable)} that cannot be read, such as {unreadable[0].partition(' is left')[0]}"
    return DataError(
        "there are too few photographs",
        file=folder,
        found=found,
        expected=f"at least {MIN_PHOTOS}, better 30 or more, or a video",
        hint=hint,
    )
