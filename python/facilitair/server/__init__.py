"""The server: runs over HTTP, SSE and WebSocket. Imported only by who serves, so that the command starts fast."""
