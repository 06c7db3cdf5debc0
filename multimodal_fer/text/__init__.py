"""Split texts into tokens and classify emotions from them."""
