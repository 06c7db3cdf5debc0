"""Faces: found, followed, classified, explained."""
