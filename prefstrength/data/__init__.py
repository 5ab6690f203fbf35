"""Choices at the door: tables in, checked, described; simulated, compressed, measured with error."""
