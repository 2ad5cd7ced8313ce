"""Representations: one file per field, one interface (``base``), one registry (``registry``)."""
