"""What awaits: drivers that carry a session over HTTP, and the two halves of a connection request."""
