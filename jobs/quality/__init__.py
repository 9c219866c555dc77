"""How well speech is recognised: recordings whose words are known go through the service, and are compared.

manifest.py -> what is said in which file, checked before anything is sent
runs.py begin -> EvaluationRun, and an EvaluatedRecording for each line
batch.py: jobs as anybody's, or live.py: as it is spoken (listening.py); sound.py mixes noise in before
runs.py score, by scores.py -> the words that differ, rates and their intervals
reports.py -> a run as JSON, and against another
"""
