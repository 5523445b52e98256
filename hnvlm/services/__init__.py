"""Use cases: the only place where models, plan, report and store meet.

``context.App`` is what every use case takes; ``context.app()`` is the one of this process. Work that
takes longer than a click has a ``start...`` twin that returns a job id (see ``jobs.JobManager``).
"""

from hnvlm.store import CaseRecord, ResultRecord, dumps

__all__ = ["CaseRecord", "ResultRecord", "dumps"]
