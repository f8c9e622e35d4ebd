"""What is written for people: charts and tables of results."""
