"""What is said: tokens, vocabularies, and the networks that read them."""
