"""Hierarchical segmentation: from 2D masks that disagree to one tree of parts in 3D (ultrametric feature fields)."""
