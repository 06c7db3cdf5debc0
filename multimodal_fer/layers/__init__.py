"""Layers, backbones and outputs that the networks share."""
