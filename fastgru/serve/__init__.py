"""The server: streams over HTTP and WebSocket, every session its own."""
