"""The controls of the page, a file for each tab; every visitor has their own."""
