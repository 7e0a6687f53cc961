"""Files in a folder or in a bucket, behind one interface.

uri.py        opens what a path or URI names: a folder, a prefix of a bucket, or one file of it as input
folder.py     a folder
s3.py         a prefix of a bucket
s3_client.py  its client, objects as files, and errors
entries.py    files, and the interface of both
"""
