"""Kinds of runs: what made a run, of which settings its configuration consists, and which files it leaves.

A room registers its kinds as entry points of the group ``fieldlab.run_kinds``, so that nothing here knows what is
above.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fieldlab import plugins
from fieldlab.errors import BackendError, ConfigError

GROUP = "fieldlab.run_kinds"


@dataclass(frozen=True)
class RunKind:
    """A kind of run.

    Args:
        name: as ``kind`` in ``config.toml``.
        command: what makes such runs and goes on with them.
        sections: name of every section of the configuration, and the flat dataclass it holds.
        products: files and folders that it writes besides those of every run.
        says: what such a run is, to end the sentence "this run ...".
        measured_on: the rays of which its PSNR speaks.
    """

    name: str
    command: str
    sections: Mapping[str, type]
    products: tuple[str, ...] = field(default=())
    says: str = ""
    measured_on: str = "training rays"

    def __post_init__(self) -> None:
        for name in self.products:  # they are removed when a run is overwritten
            if name in ("", ".", "..") or "/" in name or "\\" in name:
                raise ValueError(f"a product is a file or folder in the run's own folder, not {name!r}")


def kind_named(name: str) -> RunKind:
    """The kind of a name.

    Raises:
        ConfigError: there is none; perhaps the package that adds it is not installed.
    """
    try:
        found: RunKind = plugins.load(GROUP, name)
    except KeyError:
        raise ConfigError("there is no such kind of run", field="kind", found=name,
                          expected=" | ".join(sorted(plugins.entries(GROUP)))) from None  # fmt: skip
    return found


def all_products() -> set[str]:
    """What runs of any kind leave besides the files of every run; kinds that cannot be imported are passed over."""
    found: set[str] = set()
    for name in plugins.entries(GROUP):
        try:
            found.update(kind_named(name).products)
        except BackendError:
            continue
    return found
