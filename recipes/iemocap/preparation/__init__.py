"""A release read once, so that trainings read it from memory."""
