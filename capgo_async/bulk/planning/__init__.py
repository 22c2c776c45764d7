"""From a source to a plan: reading rows, looking at what the server shows, and drawing the plan up."""
