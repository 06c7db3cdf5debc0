"""One self-contained HTML page a recording: player, timeline, transcript, telling moments, curves."""

from multimodal_fer.report.page import write_report

__all__ = ["write_report"]
