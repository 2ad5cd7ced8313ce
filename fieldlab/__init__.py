"""fieldlab: neural fields from photographs with camera poses, on a CPU or a CUDA device.

    import fieldlab as fl

    run = fl.train(fl.load_scene("data/fox"), field="hashgrid", seconds=60)
    run.render(0).save("fox.png")

What is here is loaded when it is first asked for, so that the command line answers before PyTorch is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fieldlab.errors import FieldlabError

if TYPE_CHECKING:
    from fieldlab.api import Run, load_run, load_scene, resume, train

__version__ = "0.1.0"
__all__ = ["FieldlabError", "Run", "__version__", "load_run", "load_scene", "resume", "train"]


if not TYPE_CHECKING:  # or type checkers would find any name here

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from fieldlab import api

        return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(__all__)
