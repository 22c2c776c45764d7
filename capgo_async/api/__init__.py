"""What this API says: models, endpoints and resources."""
