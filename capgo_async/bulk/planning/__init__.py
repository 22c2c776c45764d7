"""From rows to a plan: reading sources, looking at what the server shows, and drawing up the plan."""
