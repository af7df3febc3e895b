"""The process: collect, store, tick, schedule, serve, and the command line."""

__version__ = "0.1.0"
