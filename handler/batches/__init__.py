"""OpenAI's Files, Uploads and Batches as they are stored, for the API and for what runs the batches.

records.py  the facts that are stored, each in a file that is written once
"""
