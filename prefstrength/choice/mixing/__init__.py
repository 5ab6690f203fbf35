"""Mixing distributions: how the coefficient of an attribute varies over choosers."""
