"""`WS /v1/listen`: audio in, results out while it is spoken.

connection.py talks to the client, segments.py decides when there is something to say, results.py puts it into
Deepgram's messages, journal.py remembers. What is heard is the engine's.
"""
