"""The text network of the default bundle."""
