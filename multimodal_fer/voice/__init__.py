"""How something is said: features of the voice, and the networks that read them."""
