"""Textures for meshes: where the faces lie on a picture, and what the field shows there."""
