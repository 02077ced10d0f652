"""What a tuned model becomes for others: a repository of the Hub."""
