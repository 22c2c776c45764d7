"""Pages and charts. Values in, text out."""
