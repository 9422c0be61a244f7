"""The version of the service: what /health, the document and each worker's row say."""

VERSION = "0.1.0"
