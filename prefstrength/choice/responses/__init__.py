"""Responses: one file for each kind of answer that people give."""
