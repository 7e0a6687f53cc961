"""OpenAI's Files, Uploads and Batches as they are stored, for the API and for what runs the batches.

runner.py   what runs them: a state machine on AWS, a process on a desk
records.py  the facts that are stored, each in a file that is written once
"""
