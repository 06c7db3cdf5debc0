"""Whole folders of sessions: answers, reports, tables, agreement and an index, by one worker or many."""

from multimodal_fer.study.study import Outcome, run_study

__all__ = ["Outcome", "run_study"]
