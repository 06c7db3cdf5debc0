"""Weights: load, verify, find, fetch, publish, export."""
