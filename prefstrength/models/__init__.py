"""What a user specifies, and fits."""
