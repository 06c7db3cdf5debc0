"""Fusion of face, voice and text: late attention, dual encoders, and a person's baseline."""
