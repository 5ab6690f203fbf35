"""Choices at the door: tables in, checked, described; simulated, summed up, with reward errors."""
