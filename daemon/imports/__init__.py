"""History from elsewhere: Prometheus, OpenMetrics and CSV files, turned into samples of our own signals.

Enters: what others have measured. Leaves: rows of history.db with negative numbers, before the first own sample.
"""
