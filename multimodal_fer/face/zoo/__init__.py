"""Facial networks of the literature, as published. None of them is shipped as the default."""
