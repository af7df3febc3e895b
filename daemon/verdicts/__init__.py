"""What operators' verdicts change: thresholds, exclusions, and what is never learned from."""
