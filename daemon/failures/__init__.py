"""Failures of the host: what it records of itself, from where, each event once.

`journal` follows the log, the other sources say what they saw, `log` merges their reports into events and keeps them.
"""
