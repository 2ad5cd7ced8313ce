"""Edits of a model: selections, what is done to them, and the field that shows it."""
