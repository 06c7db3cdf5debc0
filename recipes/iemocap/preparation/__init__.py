"""Media of the release, read once and stored for all trainings."""
