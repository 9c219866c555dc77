"""`WS /v1/listen`: audio in, results out while it is spoken.

handshake.py lets clients in, connection.py talks to one: socket.py brings its messages, pcm.py and
decoding.py make samples of its audio, which each channel's ear hears (the engine's; noise.py makes it err).
segments.py decides when there is something to say, channel.py and results.py put it into Deepgram's messages,
journal.py remembers.
"""
