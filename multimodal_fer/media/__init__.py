"""Sound and pictures of a recording, on its one clock; and the answer drawn into it."""
