"""Staging, options, prescription, constraints and safety rules from cited tables; runs without torch."""
