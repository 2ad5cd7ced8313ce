"""fieldlab: neural fields from photographs with camera poses, on a CPU or a CUDA device."""

__version__ = "0.1.0"
