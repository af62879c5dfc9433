"""The file server: devices fetch and send files here, by signed URLs, on a port of its own. What a URL allows, the service decides."""
