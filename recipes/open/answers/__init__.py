"""Whole answers, with which the default bundle is measured."""
