"""From a field to a triangle mesh: where the surface is, its vertices, what is kept of it, and its size."""
