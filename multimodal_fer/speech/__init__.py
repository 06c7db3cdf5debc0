"""Detect speech, transcribe it and cut it into utterances."""
