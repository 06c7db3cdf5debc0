"""Compute voice features and classify emotions from them."""
