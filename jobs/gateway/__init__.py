"""`/v1/*` over HTTP, as Deepgram speaks it, in front of the jobs that there are.

A request of an SDK's, in the order in which its modules see it:

authentication.py     a key or a grant                        -> ApiKey
query.py              what is asked for (pure)                -> Asked
bodies.py             audio, received once, or the URL of it
views.py              intake.submit                           -> TranscriptionJob
waiting.py            the connection waits for the job without a thread or a database connection
answers.py            what came of the job                    -> the provider's own bytes, or a refusal
callbacks.py          the same, on its way to a `callback`
refusals.py           everything that goes wrong, in Deepgram's shapes
"""
