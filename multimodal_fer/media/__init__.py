"""Read sound and video frames on one clock; write annotated videos."""
