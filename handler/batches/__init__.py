"""OpenAI's Files, Uploads and Batches as they are stored, for the API and for what runs the batches.

folder.py   a batch's folder: its files, and what they say
records.py  the facts that are stored, each in a file that is written once
"""
