"""Numbers from arrays: where they are computed, by which process, and in what order."""
