"""The report grammar: findings to text and text to findings."""
