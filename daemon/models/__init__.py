"""Which models there are, which serves, and how another takes its place."""
