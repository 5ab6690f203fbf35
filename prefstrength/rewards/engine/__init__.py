"""Scoring of distinct responses: batches, store, guards, several processes."""
