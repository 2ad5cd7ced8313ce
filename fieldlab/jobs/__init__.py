"""Commands of fieldlab side by side."""
