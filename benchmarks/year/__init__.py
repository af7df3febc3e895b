"""A year of a simulated host in minutes, through the daemon's own tick: `python -m benchmarks.year`."""
