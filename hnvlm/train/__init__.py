"""Resumable trainers, one module per model."""
