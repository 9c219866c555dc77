"""Deleting: a job, a project, and what is past its time."""
