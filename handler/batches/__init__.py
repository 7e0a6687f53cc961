"""OpenAI's Files, Uploads and Batches as they are stored, for the API and for what runs the batches.

machine.py  what runs batches on AWS
expiry.py   deleting what has expired from a folder
batches.py  creating, finding, listing and cancelling batches, and how far each is
uploads.py  files that arrive in parts
files.py    adding, finding, listing, reading and deleting files
page.py     a page of a list
runner.py   what runs batches, for those who create them
folder.py   a batch's folder: its files, and what they say
records.py  the facts that are stored, each in a file that is written once
ids.py      IDs that cannot be guessed
"""
