"""Releases of FER2013 and FER+."""
