"""The one way a request is made."""
