"""hnvlm: head-and-neck CT reading, draft reports, draft plans and counterfactuals, in one process.

Importing this package imports nothing heavy.
"""

__version__ = "0.1.0"
