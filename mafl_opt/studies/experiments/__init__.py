"""One module a study: what a run does, the picture, and the reading."""
