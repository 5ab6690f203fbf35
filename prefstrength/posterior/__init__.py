"""What a fit says: verdicts, curves, choosers, checks. Reads draws, never a model."""
