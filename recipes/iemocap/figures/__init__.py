"""What was measured, what others report, and what may be published."""
