"""Fitting one signal by itself: an image, or the signed distance to a mesh."""
