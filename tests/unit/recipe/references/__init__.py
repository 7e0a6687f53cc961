"""What transformers and sentence-transformers compute with the tiny encoders of tests/architectures.py."""
