"""Model references -> verified bytes. Nothing is loaded whose SHA-256 the manifest does not name.

resolver.py  finds a model's files in the image or in a bucket, and checks each against its manifest
s3.py        reads published models from S3
manifest.py  Reference and Manifest
"""
