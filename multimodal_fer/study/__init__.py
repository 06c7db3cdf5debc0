"""Analyse folders of sessions: answers, reports, tables, agreement and an index page."""

from multimodal_fer.study.study import Outcome, run_study

__all__ = ["Outcome", "run_study"]
