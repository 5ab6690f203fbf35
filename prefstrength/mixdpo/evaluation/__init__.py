"""Evaluation of a trained policy: preference metrics, win rates, intervals."""
