"""Facial networks of the literature, as published; the default bundle uses none of them."""
