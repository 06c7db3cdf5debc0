"""The sentence encoder: word pieces, a small BERT, and its reading of whole answers."""
