"""What every room uses: files that are whole or absent, records as JSON, the words of messages."""
