"""Published weights that a facial network starts from."""
