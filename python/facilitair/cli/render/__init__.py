"""How events become something to read: JSON lines, plain lines, or a terminal."""
