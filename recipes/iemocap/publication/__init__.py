"""Weights of all turns, their cards, and the search for corpus material in them."""
