"""Face, voice and words together: late attention, dual encoders, a person's baseline."""
