"""Side-by-side measurements. Each runs as `python -m benchmarks.NAME` and writes JSON with `--json`."""
