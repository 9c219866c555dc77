"""A Deepgram-compatible server for the quickstart, for tests and for rehearsing faults.

A process of its own (`python -m sandbox`) that imports nothing else of this project, so that what is tested
against it is tested over the wire. docs/sandbox.md says how to run it and lists its faults.
"""
