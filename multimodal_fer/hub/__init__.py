"""Load, verify, find, download, publish and export weights."""
