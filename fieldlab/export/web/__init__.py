"""One page that shows a mesh and its parts in any browser, without a server and without a network."""
