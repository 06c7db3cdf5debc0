"""Late attention of the default bundle."""
