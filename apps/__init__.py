"""The commands: each module holds one command's options and calls what does the work."""
