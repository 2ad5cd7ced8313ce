"""Reading pictures of masks and labels, whatever is in the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from fieldlab.errors import DataError


def read_picture(file: Path, of: str) -> NDArray[Any]:
    """The picture in a file: [H,W], or [H,W,C] with three channels or more; grays lose their opacity.

    Args:
        file: of any kind that pictures come in.
        of: what it shows, for messages.

    Raises:
        DataError: it is damaged, or no single picture.
    """
    try:
        picture = np.asarray(iio.imread(file))
    except Exception as error:  # decoders raise whatever their position in a damaged file leads to
        raise DataError(f"a picture of {of} cannot be read", file=file, found=error) from error
    if picture.ndim not in (2, 3) or not picture.size:
        raise DataError(f"a picture of {of} is not one picture", file=file, found=picture.shape)
    return picture[..., 0] if picture.ndim == 3 and picture.shape[2] < 3 else picture
