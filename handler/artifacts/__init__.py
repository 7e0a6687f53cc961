"""Model references -> verified bytes. Only files whose SHA-256 is in the manifest are loaded.

resolver.py  finds a model's files in the image or in a bucket, and checks each against its manifest
s3.py        reads published models from S3
manifest.py  Reference and Manifest
"""
