"""One page that shows a mesh and its segments in any browser, without a server and without a network."""
