"""Use cases: the only place where models, plan, report and store meet."""
