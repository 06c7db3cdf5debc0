"""Faces: detection, tracking, classification and explanation."""
