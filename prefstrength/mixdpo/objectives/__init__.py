"""Objectives of preference training, each with a mixing distribution in the place of β."""
