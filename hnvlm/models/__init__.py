"""Networks and in-process inference. Knows arrays and volumes, not patients; torch is imported on demand."""
