"""From a field and rays to pixels: occupancy, marching, compositing."""
