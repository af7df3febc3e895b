"""Numerics and model files: arrays in, scores, findings and files out. No asyncio, no HTTP, no SQLite."""
