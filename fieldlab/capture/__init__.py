"""From photographs or a video to a scene with camera poses: structure from motion with pycolmap."""
