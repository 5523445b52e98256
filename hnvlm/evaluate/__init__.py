"""Measured numbers: one module per evaluation, each on patients never trained on."""
