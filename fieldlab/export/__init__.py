"""What leaves a run: camera paths, pictures, video, meshes and point clouds."""
