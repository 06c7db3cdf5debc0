"""The voice network of the default bundle."""
