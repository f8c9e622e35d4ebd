"""The pages: the report of a bundle, its charts, its PDF, and the page of an inspection."""
