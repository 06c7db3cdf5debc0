"""Shared by recipes: configuration, run folders, metrics, sampling, augmentation."""
