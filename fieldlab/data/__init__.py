"""Reading captures: cameras, pictures, masks, bounds; one reader for each format on disk."""
