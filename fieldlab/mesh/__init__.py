"""Triangle meshes: from a field, their files, textures and measures."""
