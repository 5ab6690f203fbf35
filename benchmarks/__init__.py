"""Speed, scale and accuracy beside other software; ``make bench``."""
